"""What runs cost, measured or counted."""

from collections.abc import (
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Any

from .comparison import Arm, Comparison
from .traits import Traits


def epoch_seconds(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Seconds of training in an epoch by seed.

    The median time of an iteration, times their number; nothing where
    training is not told in epochs. Of a training that goes back to a step of
    another, epochs and iterations are those after it.
    """
    epochs = comparison.traits(arm).epochs_trained
    if not epochs:
        return {}
    time = comparison.available(arm, 'training/iteration_time')
    count = comparison.available(arm, 'training/iterations')
    return {s: time[s] * count[s] / epochs for s in time.keys() & count.keys()}


def total_seconds(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Seconds of scoring and of all iterations by seed.

    Those too of the cells that it comes after. Not the wall time of a run,
    which counts evaluations, and of a run that was killed and went on the
    last part alone.
    """
    return _with_earlier(comparison, arm, _own_seconds)


def epoch_over_dense(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Seconds of an epoch over those of the dense network, by seed.

    Seeds are left out whose cells ran on machines of two kinds; so is
    everything where the set-up has no dense network.
    """
    dense = comparison.dense(arm.setup)
    return _over_dense(comparison, epoch_seconds, arm, dense, [arm, *dense])


def total_over_dense(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """:func:`total_seconds` over those of the dense network, by seed.

    All that the two come after ran on machines of one kind, too.
    """
    dense = comparison.dense(arm.setup)
    both = [arm, *dense]
    ran = {*both, *(each for own in both for each in comparison.before(own))}
    return _over_dense(comparison, total_seconds, arm, dense, ran)


def _over_dense(
    comparison: Comparison,
    seconds: Callable[[Comparison, Arm], dict[int, float]],
    arm: Arm,
    dense: Sequence[Arm],
    ran: Collection[Arm],
) -> dict[int, float]:
    if not dense:
        return {}
    alike = comparison.on_one_machine(*ran)
    ratios = relative(*(seconds(comparison, each) for each in (arm, *dense)))
    return {seed: ratio for seed, ratio in ratios.items() if seed in alike}


def total_images(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Images that scoring and training have looked at by seed.

    Those too of the cells that it comes after.
    """
    return _with_earlier(comparison, arm, _own_images)


def _with_earlier(
    comparison: Comparison,
    arm: Arm,
    own: Callable[[Comparison, Arm], dict[int, float]],
) -> dict[int, float]:
    """A cost of an arm and of all it comes after, each counted once.

    Seeds of which one of these is not known are left out.
    """
    total = own(comparison, arm)
    for earlier in comparison.before(arm):
        cost = own(comparison, earlier)
        total = {s: total[s] + cost[s] for s in total.keys() & cost.keys()}
    return total


def _own_seconds(comparison: Comparison, arm: Arm) -> dict[int, float]:
    scoring = comparison.available(arm, 'scoring/time')
    time = comparison.available(arm, 'training/iteration_time')
    count = comparison.available(arm, 'training/iterations')
    return {
        s: scoring.get(s, 0.0) + time[s] * count[s]
        for s in time.keys() & count.keys()
    }


def _own_images(comparison: Comparison, arm: Arm) -> dict[int, float]:
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

    Each step counts, also of images of an earlier one, and so do noise that
    a criterion looks at and the batch that DLB is shown before a draw. What
    looks at the images of a step once more does not: the way back through
    the inner steps, a teacher, and PS-KD, which is shown them first. Scores
    of the plain loss look at no partner.
    """
    scorer = _scorer(comparison, arm)
    each = scorer.own_per_step + scorer.scores_sd * scorer.partners_per_step
    each += scorer.shown_first
    count = comparison.available(arm, 'scoring/evaluations')
    outputs = comparison.available(arm, 'scoring/output_images')
    return {s: n * each + outputs.get(s, 0) for s, n in count.items()}


def total_passes(
    comparison: Comparison, arm: Arm, zeros: bool = True
) -> dict[int, float]:
    """Forward passes of an image that a run is worth, by seed.

    Its own, and those of all cells that it comes after, each counted once:
    the rounds of a lottery ticket, the training of a teacher. A backward
    pass counts as two of them, as is usual: an image that is trained on
    counts 3, a partner of CS-KD 1, as does an image that a teacher looks at.
    A product with the Hessian counts 6, and 2 more where its step is
    evaluated again for it, without the gradients of weights: as many as
    convolutions take, but for the first one, which takes less. Other layers
    calculate these gradients too: products of a transformer count 8 and
    take 9. A product has the images with a gradient alone: partners and
    teachers are not asked again. Scores of the plain loss ask neither.
    Passes of a compact network, or teacher, count as its share of the
    multiply-adds of the whole one, and those of a network of other widths as
    its share of those of the dense network of the set-up.

    Args:
        comparison: The finished cells.
        arm: What has run.
        zeros: Whether a weight that is zero costs what others do; if not,
            cells that have not counted theirs are left out. A teacher has
            the zeros that it ended with, where the cell has counted them,
            else those that it had on average over its own training: more
            than it ended with where they came little by little.
    """
    own = partial(_own_passes, zeros=zeros)
    return _with_earlier(comparison, arm, own)


def _own_passes(
    comparison: Comparison, arm: Arm, zeros: bool
) -> dict[int, float]:
    traits = comparison.traits(arm)
    trained, taught = _each(traits), traits.taught_per_step
    steps = comparison.available(arm, 'training/iterations')
    share = dict.fromkeys(steps, 1.0)
    if not zeros:
        share = comparison.available(arm, 'training/sparse_share')
    size = _sizes(comparison, arm)
    teacher = dict.fromkeys(steps, 1.0)
    if taught:
        teacher = _teachers(comparison, arm, zeros)
    scorer = comparison.lender(arm) or arm
    evaluated = _each_scored(comparison.traits(scorer))
    asked = _taught_while_scored(comparison, scorer)
    outputs = comparison.available(arm, 'scoring/output_passes')
    scored = comparison.available(arm, 'scoring/evaluations')
    width = widths(comparison, arm)
    return {
        seed: n * taught * teacher[seed]
        + scored.get(seed, 0) * asked.get(seed, 0)
        + width[seed]
        * (
            n * (trained - taught) * share[seed] * size.get(seed, 1.0)
            + evaluated * scored.get(seed, 0)
            + outputs.get(seed, 0)
        )
        for seed, n in steps.items()
        if seed in share and seed in teacher and seed in width
    }


def widths(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Multiply-adds of a network of other widths over the dense one's.

    They are 1 for networks that are as wide: what detectors multiply by
    changes with their proposals. So are those that were cut, see
    :func:`_sizes`. Seeds are left out of which it is not known.
    """
    alike = dict.fromkeys(comparison.suite.seeds, 1.0)
    dense = comparison.dense(arm.setup)
    if not dense or comparison.available(arm, 'saved/multiply_adds'):
        return alike
    weights, work = (
        relative(*(comparison.available(a, metric) for a in (arm, *dense)))
        for metric in ('training/weights', 'training/multiply_adds')
    )
    counted = {s: 1.0 if w == 1 else work[s] for s, w in weights.items()}
    mine, whole = (
        _uninitialised(comparison.config(a).model) for a in (arm, *dense)
    )
    return alike | counted if mine == whole else counted


def _uninitialised(part: Any) -> Any:
    """A model's config, but for what its weights begin with."""
    if isinstance(part, (list, tuple)):
        return [_uninitialised(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    return {
        key: _uninitialised(value)
        for key, value in part.items()
        if key not in ('init_cfg', 'pretrained')
    }


def _sizes(comparison: Comparison, arm: Arm) -> dict[int, float]:
    """Multiply-adds of compact networks as shares of the whole one's."""
    done, whole = (
        comparison.available(arm, f'saved/{name}')
        for name in ('multiply_adds', 'dense_multiply_adds')
    )
    return relative(done, whole)


def _teachers(
    comparison: Comparison, arm: Arm, zeros: bool
) -> dict[int, float]:
    """What a pass of the teacher is of one of the whole network."""
    teacher = comparison.teacher(arm)
    if teacher is None:  # a file, see uncounted
        return dict.fromkeys(comparison.suite.seeds, 1.0)
    share = dict.fromkeys(comparison.suite.seeds, 1.0)
    if not zeros:
        share = comparison.available(teacher, 'training/sparse_share')
        share |= comparison.available(arm, 'teacher/sparse_share')
    size = _sizes(comparison, teacher)
    width = widths(comparison, teacher)
    return {
        seed: s * size.get(seed, 1.0) * width[seed]
        for seed, s in share.items()
        if seed in width
    }


def _each(traits: Traits) -> int:
    """Passes of a training step."""
    beside = traits.partners_per_step + traits.taught_per_step
    return 3 * traits.own_per_step + beside


def _each_scored(traits: Traits) -> float:
    """Passes of the network for a batch of a step of scoring."""
    found = 3 + 6 * traits.hessian_products + 2 * traits.replays
    found *= traits.own_per_step
    if traits.scores_sd:
        found += traits.partners_per_step
    return found + traits.shown_per_step + traits.shown_first


def _taught_while_scored(
    comparison: Comparison, scorer: Arm
) -> dict[int, float]:
    """Passes of a teacher for a batch of a step of scoring, if it has one.

    The zeros of a teacher cost what others do, as all of scoring does.
    """
    traits = comparison.traits(scorer)
    if not (traits.taught_per_step and traits.scores_sd):
        return {}
    of_one = _teachers(comparison, scorer, zeros=True)
    return {s: traits.taught_per_step * share for s, share in of_one.items()}


def _scorer(comparison: Comparison, arm: Arm) -> Traits:
    """Traits of the method whose masks an arm has."""
    return comparison.traits(comparison.lender(arm) or arm)


def relative(
    values: dict[int, float], base: dict[int, float]
) -> dict[int, float]:
    """Values as multiples of those of another arm, seed by seed."""
    return {s: values[s] / base[s] for s in values.keys() & base.keys()}
