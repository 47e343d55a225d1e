"""The claims about EPSD, and where in a suite their evidence is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from ..comparison import Arm
from ..costs import epoch_seconds, relative, total_passes
from ..uncounted import uncounted
from .evidence import (
    AGAINST,
    FOR,
    UNCLEAR,
    Evidence,
    Finding,
    by_seed,
    in_parts,
)
from .text import span

_LOSSES = {'CSKDLoss', 'PSKDLoss', 'DLBLoss'}
_ECE = 'metric/calibration/ece'
# What a suite says of methods that prune later, or that learn from others.
_LATER = 'policy, rounds, weights_of, teacher or student_of'
# Scoring that takes less of an epoch is “well under one”: our choice.
_WELL_UNDER = 0.5
# What costs so many times as much is “far” more expensive: our choice.
_FAR = 2.0


@dataclass(frozen=True)
class PublishedClaim:
    """A claim of the paper, or one that its method stands or falls with.

    Attributes:
        name: Its number.
        says: In plain words.
        needs: What a suite must have for it to be looked at.
        find: Finds what cells say of it.
    """

    name: str
    says: str
    needs: str
    find: Callable[[Evidence], Iterable[Finding]] = lambda evidence: ()


def _beats_combination(evidence: Evidence) -> Iterator[Finding]:
    gains = chain.from_iterable(
        evidence.better(*pair) for pair in _controlled(evidence)
    )
    yield from in_parts(
        ('the comparison itself', 'pairs of both', gains),
        ('the growth', 'pairs at two sparsities', _growth(evidence)),
    )


def _growth(evidence: Evidence) -> Iterator[Finding]:
    """By how much more at the highest than at the lowest sparsity."""
    sparsities = evidence.comparison.suite.sparsities
    for epsd, combined in _controlled(evidence):
        if len(sparsities) < 2 or epsd.sparsity != max(sparsities):
            continue
        low = min(sparsities)
        first, second = evidence.comparison.told(epsd, combined)
        below = replace(first, sparsity=low), replace(second, sparsity=low)
        gaps = [_gap(evidence, *two) for two in ((first, second), below)]
        yield from evidence.difference(
            f'{first.against(second)} beyond that at {low:.6g}',
            by_seed(*gaps),
            (epsd, combined, *below),
            evidence.comparison.primary(epsd.setup),
        )


def _combination_falls(evidence: Evidence) -> Iterator[Finding]:
    highest = max(evidence.comparison.suite.sparsities, default=None)
    for combined in dict.fromkeys(c for _, c in _controlled(evidence)):
        if combined.sparsity == highest:
            for plain in evidence.beside(combined, 'prune-only', 'scorer'):
                yield from evidence.better(plain, combined)


def _lower_sd_loss(evidence: Evidence) -> Iterator[Finding]:
    for epsd, combined in _controlled(evidence):
        yield from evidence.lower(epsd, combined, 'training/first_loss_sd')


def _other_mask(evidence: Evidence) -> Iterator[Finding]:
    """Overlap below the noise floor, by reports or else by masks."""
    for epsd in evidence.arms('epsd'):
        overlap, floor = (
            evidence.comparison.available(epsd, f'scoring/{name}')
            for name in ('overlap_with_plain', 'noise_floor')
        )
        if overlap and floor:
            yield from evidence.overlap(
                f'{epsd} and the plain mask',
                overlap,
                'two plain masks of other batches',
                floor,
                (epsd,),
            )
            continue
        masks = evidence.folders.masks(epsd)
        halves = evidence.comparison.available(epsd, 'scoring/stability')
        for plain in _partners(evidence, epsd):
            others = evidence.folders.masks(plain)
            overlap = {
                seed: masks[seed].overlap(others[seed])
                for seed in masks.keys() & others.keys()
            }
            for found in evidence.overlap(
                epsd.against(plain, 'and'),
                overlap,
                'halves of its draws',
                halves,
                (epsd, plain),
            ):
                # Whole draws agree more than halves do: how much is unknown.
                against = found.verdict == AGAINST
                yield replace(found, verdict=UNCLEAR) if against else found


def _inner_steps_help(evidence: Evidence) -> Iterator[Finding]:
    traits = evidence.comparison.traits
    same = 'scorer_but_steps', 'objective', 'training'
    for still in evidence.arms('epsd'):
        if traits(still).steps == 0:
            for moved in evidence.beside(still, 'epsd', *same):
                if traits(moved).steps:
                    yield from evidence.better(moved, still)


def _all_losses(evidence: Evidence) -> Iterator[Finding]:
    pairs = list(_controlled(evidence))
    found = {evidence.comparison.traits(epsd).sd_loss for epsd, _ in pairs}
    if found >= _LOSSES:
        for pair in pairs:
            yield from evidence.better(*pair)


def _own_masks_help(evidence: Evidence) -> Iterator[Finding]:
    traits = evidence.comparison.traits
    for borrower, lender in _borrowers(evidence, shuffled=False):
        if traits(lender).training == traits(borrower).training:
            continue
        for epsd in evidence.beside(borrower, 'epsd', 'training'):
            if (traits(epsd).scorer, traits(epsd).objective) == (
                traits(lender).scorer,
                traits(lender).objective,
            ):
                yield from evidence.better(epsd, borrower)


def _places_matter(evidence: Evidence) -> Iterator[Finding]:
    traits = evidence.comparison.traits
    for borrower, lender in _borrowers(evidence, shuffled=True):
        if traits(lender).training == traits(borrower).training:
            yield from evidence.better(lender, borrower)


def _beats_baselines(evidence: Evidence) -> Iterator[Finding]:
    """Those of early pruning, and what prunes later or has a teacher."""
    plain, fair, later = [], [], []
    traits = evidence.comparison.traits

    def early(arms: Iterator[Arm]) -> Iterator[Arm]:
        return (arm for arm in arms if traits(arm).prunes_early)

    for epsd in evidence.arms('epsd'):
        for other in early(evidence.beside(epsd, 'prune-only')):
            plain += evidence.better(epsd, other)
        controls = set(_partners(evidence, epsd))
        trained_alike = evidence.beside(epsd, 'simple-combination', 'training')
        for other in early(trained_alike):
            if other not in controls:
                fair += evidence.better(epsd, other)
        for other in evidence.others(epsd):
            found = traits(other)
            alike = found.training == traits(epsd).training
            late = found.prunes_late and (found.sd_loss is None or alike)
            if late or found.taught_per_step:
                later += evidence.better(epsd, other)
    yield from in_parts(
        ('baselines without it', 'a criterion and plain training', plain),
        ('the fair control', 'another criterion, then the same loss', fair),
        ('what prunes later, or is taught', _LATER, later),
    )


def _no_collapse(evidence: Evidence) -> Iterator[Finding]:
    for magnitude in evidence.arms('prune-only', 'simple-combination'):
        if evidence.comparison.traits(magnitude).criterion != 'Magnitude':
            continue
        fallen = _empty(evidence, magnitude)
        for epsd in evidence.beside(magnitude, 'epsd'):
            own = _empty(evidence, epsd)
            if not own or not fallen:
                continue
            verdict = FOR if max(fallen) else UNCLEAR
            yield evidence.fact(
                f'empty layers, {epsd.against(magnitude, "and")}',
                f'{span(own, "{}")} and {span(fallen, "{}")}',
                AGAINST if max(own) else verdict,
                *(epsd, magnitude),
            )


def _cheap_scoring(evidence: Evidence) -> Iterator[Finding]:
    for epsd in evidence.arms('epsd'):
        seconds = evidence.comparison.available(epsd, 'scoring/time')
        epoch = epoch_seconds(evidence.comparison, epsd)
        ratios = [seconds[s] / epoch[s] for s in seconds.keys() & epoch.keys()]
        if not ratios:
            continue
        verdict = FOR if max(ratios) <= _WELL_UNDER else UNCLEAR
        yield evidence.fact(
            f'scoring by {epsd}, in epochs',
            span(ratios),
            AGAINST if min(ratios) >= 1 else verdict,
            epsd,
        )


def _far_cheaper(evidence: Evidence) -> Iterator[Finding]:
    """Passes of all that led to a network, over those of EPSD."""
    pruned, distilled = [], []
    for epsd in evidence.arms('epsd'):
        for other in evidence.others(epsd):
            traits = evidence.comparison.traits(other)
            if not traits.after_training:
                continue
            ratios, fewer = (
                _times_passes(evidence, other, epsd, zeros)
                for zeros in (True, False)
            )
            if not ratios:
                continue
            without = f', without zeros {span(fewer)}' if fewer else ''
            verdict = FOR if min(ratios) >= _FAR else UNCLEAR
            files, own = (
                uncounted(evidence.comparison, arm) for arm in (other, epsd)
            )
            if files:
                without += f', without {" and ".join(files)} from a file'
            if own:
                without += f', without {" and ".join(own)} of EPSD from a file'
                verdict = UNCLEAR
            found = pruned if traits.sd_loss is None else distilled
            found.append(
                evidence.fact(
                    f'passes of {other.against(epsd, "over those of")}',
                    span(ratios) + without,
                    # Counted: what is not far cheaper is known not to be.
                    AGAINST if max(ratios) < _FAR and not files else verdict,
                    *(other, epsd),
                )
            )
    yield from in_parts(
        ('to prune a trained network', 'rounds, or weights_of', pruned),
        ('and then to distil', 'rounds with a loss, or student_of', distilled),
    )


def _times_passes(
    evidence: Evidence, first: Arm, second: Arm, zeros: bool
) -> list[float]:
    """What all that led to a network cost, over the same of another."""
    a, b = (
        total_passes(evidence.comparison, arm, zeros)
        for arm in (first, second)
    )
    return list(relative(a, b).values())


def _calibrates(evidence: Evidence) -> Iterator[Finding]:
    for arm in evidence.arms('simple-combination', 'epsd', 'later'):
        for plain in evidence.beside(arm, 'prune-only', 'scorer'):
            yield from evidence.lower(arm, plain, _ECE)


#: In the order in which they are asked.
CLAIMS = (
    PublishedClaim(
        'C1',
        'EPSD does better than Simple Combination, and by more at higher '
        'sparsity.',
        'EPSD and Simple Combination with one criterion and one loss',
        _beats_combination,
    ),
    PublishedClaim(
        'C2',
        'At high sparsity Simple Combination falls below the same pruning '
        'without self-distillation.',
        'EPSD, Simple Combination and their criterion followed by plain '
        'training',
        _combination_falls,
    ),
    PublishedClaim(
        'C3',
        'Early in training the self-distillation loss is lower under the '
        'mask of EPSD than under that of Simple Combination (first logged '
        'value).',
        'EPSD and Simple Combination with one criterion and one loss',
        _lower_sd_loss,
    ),
    PublishedClaim(
        'C4',
        'The mask of EPSD is another one than that of the plain loss, by '
        'more than other batches would change.',
        'EPSD with compare_plain, or masks of EPSD and of Simple Combination',
        _other_mask,
    ),
    PublishedClaim(
        'C5',
        'Inner steps help the scores.',
        'EPSD with and without inner steps',
        _inner_steps_help,
    ),
    PublishedClaim(
        'C6',
        'C1 holds for all three self-distillation losses.',
        'EPSD and Simple Combination with each of CS-KD, PS-KD and DLB',
        _all_losses,
    ),
    PublishedClaim(
        'C7',
        'A mask that was scored for the loss it is trained with does better '
        'than one scored for another.',
        'EPSD with two losses, and a method that trains with one of them '
        'under the masks of the other (masks_of)',
        _own_masks_help,
    ),
    PublishedClaim(
        'C8',
        'EPSD does better than each early-pruning baseline, trained without '
        'self-distillation and, the fair control, with it; and than what '
        'prunes while or after training, or learns from a trained network.',
        'EPSD and another criterion, or what prunes later or is taught '
        f'({_LATER})',
        _beats_baselines,
    ),
    PublishedClaim(
        'C9',
        'EPSD empties no layer where magnitude pruning does.',
        'EPSD and Magnitude at one sparsity, with their masks',
        _no_collapse,
    ),
    PublishedClaim(
        'C10',
        'Scoring costs well under one epoch of training (half of one, '
        'measured).',
        'EPSD, with training told in epochs',
        _cheap_scoring,
    ),
    PublishedClaim(
        'C11',
        'EPSD is far cheaper than to prune a trained network and then distil '
        '(half of its passes, counted).',
        'EPSD, and a network that is pruned after its training (rounds, '
        'weights_of), without distillation and with it (student_of)',
        _far_cheaper,
    ),
    PublishedClaim(
        'C12',
        'Self-distillation lowers the calibration error of pruned networks '
        'too.',
        'one criterion trained with and without self-distillation, and the '
        'metric Calibration',
        _calibrates,
    ),
    PublishedClaim(
        'C13',
        'Shuffling the mask inside each layer does harm.',
        'EPSD, and a method under its masks, shuffled (masks_of, shuffled)',
        _places_matter,
    ),
    PublishedClaim(
        'C14',
        'What EPSD finds on one task transfers to fine-grained '
        'classification and to detection.',
        'networks that one set-up has trained and another one trains '
        'further: a cell goes on from those of its own set-up alone',
    ),
)


def _controlled(evidence: Evidence) -> Iterator[tuple[Arm, Arm]]:
    """EPSD and what differs from it in the scored objective alone."""
    for epsd in evidence.arms('epsd'):
        for combined in _partners(evidence, epsd):
            yield epsd, combined


def _partners(evidence: Evidence, epsd: Arm) -> Iterator[Arm]:
    yield from evidence.beside(
        epsd, 'simple-combination', 'scorer', 'training'
    )


def _borrowers(
    evidence: Evidence, shuffled: bool
) -> Iterator[tuple[Arm, Arm]]:
    """What trains under masks of EPSD that are not its own, and whose."""
    methods = evidence.comparison.suite.methods
    for arm in evidence.arms('given'):
        lender = evidence.comparison.lender(arm)
        if lender is None or methods[arm.method].shuffled != shuffled:
            continue
        trained = evidence.comparison.traits(arm).after_training
        if evidence.comparison.traits(lender).role == 'epsd' and not trained:
            yield arm, lender


def _gap(evidence: Evidence, first: Arm, second: Arm) -> dict[int, float]:
    metric = evidence.comparison.primary(first.setup)
    a, b = (evidence.comparison.available(x, metric) for x in (first, second))
    return {seed: a[seed] - b[seed] for seed in a.keys() & b.keys()}


def _empty(evidence: Evidence, arm: Arm) -> list[int]:
    masks = evidence.folders.masks(arm).values()
    return [len(each.empty_layers()) for each in masks]
