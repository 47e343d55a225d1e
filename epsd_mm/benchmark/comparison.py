"""Results of a suite, side by side and pair by pair."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmengine.config import Config

from .claimed import Noted
from .conditions import machine_of, told_apart
from .power import would_have_seen, would_see
from .statistics import (
    FEWEST_PAIRS,
    Difference,
    Summary,
    fewest_pairs,
    holm,
    paired_difference,
    smallest_p,
)
from .store import Entry
from .suite import Suite
from .suite_parts import Cell, Claim
from .traits import Traits, traits_of

LEVEL = 0.05


class MixtureError(ValueError):
    """Results that were not made alike."""


@dataclass(frozen=True)
class Arm:
    """What is compared: a method at a sparsity, in a set-up."""

    setup: str
    method: str
    sparsity: float | None

    def __str__(self) -> str:
        if self.sparsity is None:
            return self.method
        return f'{self.method} at {self.sparsity:.6g}'

    def against(self, other: 'Arm', sign: str = '−') -> str:
        """The comparison with another arm, as short as it can be told."""
        if self.sparsity == other.sparsity is not None:
            return f'{self.method} {sign} {other}'
        return f'{self} {sign} {other}'


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim.

    Attributes:
        claim: The claim.
        verdict: ``supported``, ``not supported``, ``undecided``, or
            ``no claim`` where there are fewer than three pairs.
        why: A sentence.
        difference: By how much the first does better; None without pairs.
        p: Adjusted for the number of claims (Holm); None until it is tested.
    """

    claim: Claim
    verdict: str
    why: str
    difference: Difference | None
    p: float | None


class Comparison:
    """The finished cells of a suite.

    Args:
        suite: The suite.
        entries: What the store holds, by key.
        noted: When the claims were named; None where nothing is known of it.

    Raises:
        MixtureError: Cells ran with different recipes.
    """

    def __init__(
        self,
        suite: Suite,
        entries: Mapping[str, Entry],
        noted: Noted | None = None,
    ) -> None:
        self.suite, self.entries, self.noted = suite, entries, noted
        self._configs: dict[Arm, Config] = {}
        self._traits: dict[Arm, Traits] = {}
        self.finished = [
            (cell, entries[cell.key])
            for cell in suite.cells
            if cell.key in entries and entries[cell.key].state == 'finished'
        ]
        _refuse_mixtures(entry for _, entry in self.finished)
        self._planned = _by_arm((cell, None) for cell in suite.cells)
        self._finished = _by_arm(self.finished)
        self._places = {cell.key: _arm(cell) for cell in suite.cells}

    @property
    def arms(self) -> list[Arm]:
        """All that the suite compares, finished or not, in its order."""
        return list(dict.fromkeys(map(_arm, self.suite.asked)))

    def before(self, arm: Arm) -> list[Arm]:
        """All that an arm comes after, each once; compared or not."""
        found: dict[Arm, None] = {}
        cell, _ = self._planned[arm][0]
        waiting = list(cell.after)
        while waiting:
            earlier = waiting.pop()
            place = self._places[earlier.key]
            if place not in found:
                found[place] = None
                waiting += earlier.after
        return list(found)

    def arms_of(self, setup: str) -> list[Arm]:
        """Those of a set-up."""
        return [arm for arm in self.arms if arm.setup == setup]

    def cells(self, arm: Arm) -> list[Cell]:
        """The finished cells of an arm."""
        return [cell for cell, _ in self._finished.get(arm, ())]

    def config(self, arm: Arm) -> Config:
        """The resolved config of an arm, but for its seed."""
        if arm not in self._configs:
            cell, _ = self._planned[arm][0]
            self._configs[arm] = cell.run.resolve(cell.setup.base)
        return self._configs[arm]

    def traits(self, arm: Arm) -> Traits:
        """What the method of an arm is."""
        if arm not in self._traits:
            self._traits[arm] = traits_of(self.config(arm))
        return self._traits[arm]

    def lender(self, arm: Arm) -> Arm | None:
        """The arm whose masks an arm has, where those are not its own."""
        cell, _ = self._planned[arm][0]
        return cell.lender and _arm(cell.lender)

    def teacher(self, arm: Arm) -> Arm | None:
        """The arm from whose trained network an arm learns, if it does."""
        cell, _ = self._planned[arm][0]
        return cell.teacher and _arm(cell.teacher)

    def available(self, arm: Arm, metric: str) -> dict[int, float]:
        """A metric of the finished cells of an arm, by seed.

        Those that report no finite number are left out; see :meth:`lost`.
        """
        return {
            cell.seed: entry.metrics[metric][0]
            for cell, entry in self._finished.get(arm, ())
            if _has_number(entry, metric)
        }

    def on_one_machine(self, *arms: Arm) -> set[int]:
        """Seeds whose cells of all these arms ran on machines alike."""
        found: dict[int, list[tuple]] = {}
        for arm in arms:
            for cell, entry in self._finished.get(arm, ()):
                found.setdefault(cell.seed, []).append(machine_of(entry))
        return {
            seed
            for seed, machines in found.items()
            if len(machines) == len(arms) and len(set(machines)) == 1
        }

    def lost(self, arm: Arm, metric: str) -> list[str]:
        """Cells of an arm that failed, or ended without a finite number."""
        return [
            entry.name
            for cell, _ in self._planned.get(arm, ())
            if (entry := self.entries.get(cell.key)) is not None
            and (
                entry.state == 'failed'
                or entry.state == 'finished'
                and not _has_number(entry, metric)
            )
        ]

    def differing(self) -> dict[str, list[str]]:
        """Versions and machines that are not the same for all cells."""
        found: dict[str, set[str]] = {}
        for _, entry in self.finished:
            for name, value in (entry.environment or {}).items():
                found.setdefault(name, set()).add(str(value))
        return {n: sorted(v) for n, v in found.items() if len(v) > 1}

    def primary(self, setup: str) -> str:
        """The metric that a set-up compares."""
        return f'metric/{self.suite.setups[setup].metric}'

    def place(self, setup: str) -> str:
        """Names a set-up where there are several, as a suffix."""
        return f' ({setup})' if len(self.suite.setups) > 1 else ''

    def unit(self, metric: str) -> str:
        """Unit of a metric, as a suffix; empty for shares."""
        for _, entry in self.finished:
            if metric in entry.metrics:
                unit = entry.metrics[metric][1]
                return '' if unit == '1' else f' {unit}'
        return ''

    def summary(self, arm: Arm, metric: str) -> Summary | None:
        """Mean and spread over seeds; None where no cell has it."""
        values = self.available(arm, metric)
        return Summary.of(list(values.values())) if values else None

    def difference(
        self, first: Arm, second: Arm, metric: str
    ) -> Difference | None:
        """First minus second over the seeds that both have."""
        a, b = self.available(first, metric), self.available(second, metric)
        return paired_difference(a, b) if a.keys() & b.keys() else None

    def gain(self, first: Arm, second: Arm) -> Difference | None:
        """By how much the first does better than the second."""
        better, worse = self.told(first, second)
        return self.difference(better, worse, self.primary(first.setup))

    def told(self, first: Arm, second: Arm) -> tuple[Arm, Arm]:
        """What is subtracted from what, so that a gain is positive."""
        if self.suite.setups[first.setup].lower_is_better:
            return second, first
        return first, second

    def apart(self, first: Arm, second: Arm) -> list[str]:
        """What may be behind their difference besides what they are."""
        return told_apart(self._pairs(first, second))

    def claim_arms(self, claim: Claim) -> tuple[Arm, Arm]:
        """The arms that a claim compares."""
        first, second = (
            Arm(
                claim.setup,
                name,
                claim.sparsity if self.suite.methods[name].prunes else None,
            )
            for name in (claim.first, claim.second)
        )
        return first, second

    def verdicts(self) -> list[Verdict]:
        """What the runs say of the claims of the suite."""
        found = {
            claim: self.gain(*self.claim_arms(claim))
            for claim in self.suite.claims
        }
        tested = {c: d.p for c, d in found.items() if self._is_whole(d)}
        # Those that wait for seeds are among the tested all the same. With
        # p = 1 they leave the others the largest adjusted p that they can
        # ever have: no seed to come takes back what is supported.
        at_most, at_least = (
            holm({claim: tested.get(claim, p) for claim in found})
            for p in (1.0, 0.0)
        )
        return [
            self._judged(claim, difference, at_most[claim], at_least[claim])
            for claim, difference in found.items()
        ]

    def with_role(self, setup: str, *roles: str) -> list[Arm]:
        """Arms of a set-up by what they are, see :class:`Traits`."""
        return [
            arm
            for arm in self.arms_of(setup)
            if self.traits(arm).role in roles
        ]

    def dense(self, setup: str) -> list[Arm]:
        """The dense network that others are measured by; none, or one.

        The first of a set-up, one that starts anew before any that goes on
        from another: what that one has cost is part of its own costs. Of
        these the network of the config before any with options of its own,
        such as a narrower one.
        """
        found = self.with_role(setup, 'dense')
        methods = self.suite.methods
        return sorted(
            found,
            key=lambda arm: (
                bool(self.before(arm)),
                bool(methods[arm.method].options),
            ),
        )[:1]

    def dense_benefit(self, setup: str) -> list[tuple[Arm, Difference | None]]:
        """What self-distillation does for the dense network of a set-up.

        By the losses of EPSD, with their settings, where there is EPSD:
        others say nothing of it.
        """
        losses = {
            self.traits(arm).training for arm in self.with_role(setup, 'epsd')
        }
        return [
            (distilled, self.gain(distilled, dense))
            for dense in self.dense(setup)
            for distilled in self.with_role(setup, 'sd-only')
            if not losses or self.traits(distilled).training in losses
        ]

    def _pairs(self, first: Arm, second: Arm) -> list[tuple[Entry, Entry]]:
        """Finished cells of two arms, by common seed."""
        a, b = (
            {cell.seed: entry for cell, entry in self._finished.get(arm, ())}
            for arm in (first, second)
        )
        return [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]

    def _is_whole(self, difference: Difference | None) -> bool:
        """Whether all seeds of a claim are there."""
        return difference is not None and difference.n == len(self.suite.seeds)

    def _judged(
        self,
        claim: Claim,
        difference: Difference | None,
        p: float,
        may_be: float,
    ) -> Verdict:
        apart = self.apart(*self.claim_arms(claim))

        def said(verdict: str, why: str) -> Verdict:
            why = '. '.join([why, *apart])
            whole = verdict != 'no claim' and self._is_whole(difference)
            tested = p if whole else None
            return Verdict(claim, verdict, why, difference, tested)

        pairs = 0 if difference is None else difference.n
        planned = len(self.suite.seeds)
        if pairs < FEWEST_PAIRS:
            return said(
                'no claim',
                f'{pairs} of the {FEWEST_PAIRS} pairs of seeds that it takes',
            )
        reached, needed = smallest_p(planned), LEVEL / len(self.suite.claims)
        if reached > needed:
            why = (
                f'n too small: {planned} pairs reach p = {reached:.3g} at '
                f'best, and {needed:.3g} is needed'
            )
            enough = would_see(difference.std, fewest_pairs(needed), needed)
            return said('undecided', '; '.join(filter(None, (why, enough))))
        if pairs < planned:
            there = would_see(difference.std, planned, needed)
            return said('undecided', self._why_not_yet(claim, pairs, there))
        seen = would_have_seen(difference.std, pairs, needed)
        if p > LEVEL >= may_be:
            return said(
                'undecided',
                f'p = {p:.3g}{f" ({seen})" if seen else ""} while other '
                f'claims wait for their seeds, and {may_be:.3g} at best when '
                'they are there',
            )
        if p > LEVEL:
            why = '; '.join(filter(None, (f'p = {p:.3g}', seen)))
            return said('undecided', why)
        if difference.mean > 0:
            return said('supported', f'p = {p:.3g}')
        return said('not supported', f'it is the other way round, p = {p:.3g}')

    def _why_not_yet(self, claim: Claim, pairs: int, there: str) -> str:
        """A test at each look would find something sooner or later."""
        why = (
            f'{pairs} of {len(self.suite.seeds)} pairs so far; it is tested '
            'once, when all are there'
        )
        if there:
            why += f'; {there}'
        metric = self.primary(claim.setup)
        lost = [
            n for a in self.claim_arms(claim) for n in self.lost(a, metric)
        ]
        if lost:
            why += f'. Without a result: {", ".join(lost)}'
        return why


def _has_number(entry: Entry, metric: str) -> bool:
    return math.isfinite(entry.metrics.get(metric, (math.nan,))[0])


def _arm(cell: Cell) -> Arm:
    return Arm(cell.setup.name, cell.method.name, cell.sparsity)


def _by_arm(
    cells: Iterable[tuple[Cell, Entry | None]],
) -> dict[Arm, list[tuple[Cell, Entry | None]]]:
    found: dict[Arm, list] = {}
    for cell, entry in cells:
        found.setdefault(_arm(cell), []).append((cell, entry))
    return found


def _refuse_mixtures(entries: Iterable[Entry]) -> None:
    recipes: dict[int, list[str]] = {}
    for entry in entries:
        version = (entry.environment or {}).get('recipe_version')
        recipes.setdefault(version, []).append(entry.name)
    if len(recipes) > 1:
        shown = '; '.join(
            f'recipe {version}: {len(names)} cells, such as {names[0]}'
            for version, names in recipes.items()
        )
        raise MixtureError(
            f'cells of different recipes do not compare ({shown}): run the '
            'suite again, which makes new cells, and clean the old ones'
        )
