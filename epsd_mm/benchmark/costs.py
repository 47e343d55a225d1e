"""What runs cost, measured or counted."""

from .comparison import Arm, Comparison


def epoch_seconds(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Seconds of training in an epoch by seed.

    The median time of an iteration, times their number; nothing where
    training is not told in epochs.
    """
    epochs = comparison.traits(arm).epochs
    if not epochs:
        return {}
    time = comparison.available(arm, 'training/iteration_time')
    count = comparison.available(arm, 'training/iterations')
    return {s: time[s] * count[s] / epochs for s in time.keys() & count.keys()}


def total_seconds(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Seconds of scoring and of all iterations by seed.

    Not the wall time of a run, which counts evaluations, and of a run that
    was killed and went on the last part alone.
    """
    scoring = comparison.available(arm, 'scoring/time')
    time = comparison.available(arm, 'training/iteration_time')
    count = comparison.available(arm, 'training/iterations')
    return {
        s: scoring.get(s, 0.0) + time[s] * count[s]
        for s in time.keys() & count.keys()
    }


def total_images(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Images that scoring and training have looked at by seed."""
    scoring = scoring_images(comparison, arm)
    training = training_images(comparison, arm)
    return {seed: n + scoring.get(seed, 0) for seed, n in training.items()}


def training_images(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Images that training has looked at by seed, partners included.

    Counted as iterations times images of a step: where an epoch ends in a
    smaller batch, that counts as a whole one.
    """
    each = comparison.traits(arm).images_per_step
    count = comparison.available(arm, 'training/iterations')
    return {seed: n * each for seed, n in count.items()}


def scoring_images(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Images that scoring has looked at by seed, partners included.

    Each evaluation of the objective counts, also of the same images; the
    way back through the inner steps, which looks at them again, does not.
    """
    scorer = comparison.traits(comparison.lender(arm) or arm)
    each = scorer.images_per_step * scorer.batches_per_step
    count = comparison.available(arm, 'scoring/evaluations')
    return {seed: n * each for seed, n in count.items()}


def total_passes(
    comparison: Comparison, arm: Arm, zeros: bool = True
) -> dict[int, float]:
    """Forward passes of an image that a run is worth, by seed.

    A backward pass counts as two of them and a product with the Hessian as
    six, as is usual (our choice): an image that is trained on counts 3, a
    partner of CS-KD 1. Passes of a compact network count as its share of
    the multiply-adds of the whole one.

    Args:
        comparison: The finished cells.
        arm: What has run.
        zeros: Whether a weight that is zero costs what others do; if not,
            cells that have not counted theirs are left out.
    """
    traits = comparison.traits(arm)
    partners = traits.partners_per_step
    trained = 3 * (traits.images_per_step - partners) + partners
    steps = comparison.available(arm, 'training/iterations')
    share = dict.fromkeys(steps, 1.0)
    if not zeros:
        share = comparison.available(arm, 'training/sparse_share')
    done, whole = (
        comparison.available(arm, f'saved/{name}')
        for name in ('multiply_adds', 'dense_multiply_adds')
    )
    size = relative(done, whole)
    products = 6 * traits.hessian_products
    evaluated = (trained + products * traits.images_per_step) * (
        traits.batches_per_step
    )
    scored = comparison.available(arm, 'scoring/evaluations')
    return {
        seed: n * trained * share[seed] * size.get(seed, 1.0)
        + evaluated * scored.get(seed, 0)
        for seed, n in steps.items()
        if seed in share
    }


def relative(
    values: dict[int, float], base: dict[int, float]
) -> dict[int, float]:
    """Values as multiples of those of another arm, seed by seed."""
    return {s: values[s] / base[s] for s in values.keys() & base.keys()}
