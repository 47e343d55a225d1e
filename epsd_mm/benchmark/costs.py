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


def relative(
    values: dict[int, float], base: dict[int, float]
) -> dict[int, float]:
    """Values as multiples of those of another arm, seed by seed."""
    return {s: values[s] / base[s] for s in values.keys() & base.keys()}
