"""What cells say of a claim: findings, and a verdict over them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..comparison import LEVEL, Arm, Comparison, Verdict
from ..folders import Folders
from ..power import would_have_seen
from ..statistics import FEWEST_PAIRS, Difference, paired_difference
from ..wording import pair_count
from .text import interval

_DESCRIBED = 'descriptive: '
FOR = _DESCRIBED + 'points to it'
AGAINST = _DESCRIBED + 'points against it'
UNCLEAR = _DESCRIBED + 'not told apart'
NO_CLAIM = 'no claim'
NOT_TESTED = 'not tested here'
_TESTED = ('supported', 'not supported', 'undecided')
# Of the reverse of a claim: its test has two sides.
_TURNED = {'supported': 'not supported', 'not supported': 'supported'}


@dataclass(frozen=True)
class Finding:
    """One comparison, or one fact, that speaks of a claim.

    Attributes:
        what: What is compared.
        figures: What came out.
        verdict: That of a test that the suite has named before it ran, or
            a description.
        arms: Those behind it.
    """

    what: str
    figures: str
    verdict: str
    arms: tuple[Arm, ...]


def overall(findings: Sequence[Finding]) -> str:
    """One verdict over all findings.

    A test of some comparisons says nothing of the others, so that a claim is
    supported as a whole only where all of it was tested.
    """
    counts = Counter(finding.verdict for finding in findings)
    if not counts:
        return NOT_TESTED
    if len(counts) == 1:
        return findings[0].verdict
    open_ = counts.pop(NOT_TESTED, 0)
    described = any(v.startswith(_DESCRIBED) for v in counts)
    tested, others = (
        ', '.join(
            f'{v.removeprefix(_DESCRIBED)} ({n})'
            for v, n in counts.items()
            if (v in _TESTED) is wanted
        )
        for wanted in (True, False)
    )
    parts = [
        f'in part: {tested}' if tested else '',
        f'{_DESCRIBED * described}{others}' if others else '',
        f'{NOT_TESTED} ({open_})' if open_ else '',
    ]
    return '; '.join(part for part in parts if part)


def by_weight(findings: Sequence[Finding]) -> list[Finding]:
    """Those that were tested first, then those that speak against it."""
    return sorted(
        findings,
        key=lambda f: (f.verdict not in _TESTED, f.verdict != AGAINST),
    )


class Evidence:
    """Finds what is compared, by what methods are, and describes it.

    Args:
        comparison: The finished cells.
        folders: What else they have left.
    """

    def __init__(self, comparison: Comparison, folders: Folders) -> None:
        self.comparison, self.folders = comparison, folders
        self._tested: dict[tuple[Arm, Arm], Verdict] = {
            comparison.claim_arms(verdict.claim): verdict
            for verdict in comparison.verdicts()
        }

    def arms(self, *roles: str) -> Iterator[Arm]:
        """Arms of all set-ups by what they are."""
        for setup in self.comparison.suite.setups:
            yield from self.comparison.with_role(setup, *roles)

    def others(self, arm: Arm) -> Iterator[Arm]:
        """All others of its set-up that have its sparsity."""
        for other in self.comparison.arms_of(arm.setup):
            if other != arm and other.sparsity == arm.sparsity:
                yield other

    def beside(self, arm: Arm, role: str, *same: str) -> Iterator[Arm]:
        """Others to compare with: of a role, and these traits the same."""
        own = self.comparison.traits(arm)
        for other in self.others(arm):
            traits = self.comparison.traits(other)
            if traits.role == role and all(
                getattr(traits, name) == getattr(own, name) for name in same
            ):
                yield other

    def better(self, first: Arm, second: Arm) -> Iterator[Finding]:
        """That the first does better than the second."""
        metric = self.comparison.primary(first.setup)
        difference = self.comparison.gain(first, second)
        a, b = self.comparison.told(first, second)
        tested = self._tested.get((first, second))
        turned = self._tested.get((second, first))
        if tested is not None:
            verdict, why = tested.verdict, tested.why
        elif turned is not None:
            verdict = _TURNED.get(turned.verdict, turned.verdict)
            why = (
                f'{turned.claim.name}, which claims the reverse, is '
                f'{turned.verdict}: {turned.why}'
            )
        else:
            yield from self.difference(
                a.against(b), difference, (first, second), metric
            )
            return
        figures = [interval(difference, self.comparison.unit(metric)), why]
        yield Finding(
            self._placed(a.against(b), first),
            '; '.join(text for text in figures if text),
            verdict,
            (first, second),
        )

    def lower(self, first: Arm, second: Arm, metric: str) -> Iterator[Finding]:
        """That the first has less of something than the second."""
        yield from self.difference(
            second.against(first),
            self.comparison.difference(second, first, metric),
            (first, second),
            metric,
        )

    def difference(
        self,
        what: str,
        difference: Difference | None,
        arms: tuple[Arm, ...],
        metric: str,
    ) -> Iterator[Finding]:
        """That a difference is above zero; nothing without pairs."""
        if difference is None:
            return
        if difference.n < FEWEST_PAIRS:
            verdict = NO_CLAIM
        elif difference.low > 0:
            verdict = FOR
        else:
            verdict = AGAINST if difference.high < 0 else UNCLEAR
        shown = interval(difference, self.comparison.unit(metric))
        yield Finding(
            self._placed(what, arms[0]),
            f'{shown}, {pair_count(difference.n)}{unseen(difference)}',
            verdict,
            arms,
        )

    def overlap(
        self,
        what: str,
        shared: Mapping[int, float],
        beside: str,
        floor: Mapping[int, float],
        arms: tuple[Arm, ...],
    ) -> Iterator[Finding]:
        """That two masks share less than a noise floor."""
        seeds = shared.keys() & floor.keys()
        if not seeds:
            return
        means = [fmean(x[seed] for seed in seeds) for x in (shared, floor)]
        below = by_seed(floor, shared)
        for found in self.difference(
            f'weights that {what} share', below, arms, 'scoring/stability'
        ):
            figures = (
                f'{means[0]:.3f}, {beside} {means[1]:.3f}, '
                f'{pair_count(len(seeds))}{unseen(below)}'
            )
            yield replace(found, figures=figures)

    def fact(
        self, what: str, figures: str, verdict: str, *arms: Arm
    ) -> Finding:
        """Something that was counted or measured once and for all."""
        return Finding(self._placed(what, arms[0]), figures, verdict, arms)

    def _placed(self, what: str, arm: Arm) -> str:
        return what + self.comparison.place(arm.setup)


def in_parts(
    *parts: tuple[str, str, Iterable[Finding]],
) -> Iterator[Finding]:
    """What is found of a claim that says several things.

    Args:
        parts: Of each thing its name, what it takes, and its findings.

    Yields:
        The findings, and where some part has one, those that have none.
    """
    found = [(what, needs, list(each)) for what, needs, each in parts]
    if any(each for _, _, each in found):
        for what, needs, each in found:
            yield from each or [
                Finding(what, f'takes {needs}', NOT_TESTED, ())
            ]


def unseen(difference: Difference) -> str:
    """What the test of one comparison sees, where none is told apart."""
    told = difference.low > 0 or difference.high < 0
    if difference.n < FEWEST_PAIRS or told:
        return ''
    seen = would_have_seen(difference.std, difference.n, LEVEL)
    return f'; {seen}' if seen else ''


def by_seed(
    first: Mapping[int, float], second: Mapping[int, float]
) -> Difference | None:
    """First minus second over common seeds; None where there is none."""
    if not first.keys() & second.keys():
        return None
    return paired_difference(first, second)
