"""Budgets: how many units each group keeps, and which."""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from epsd_mm.pruning import Allocation, Global, Masks, Uniform
from epsd_mm.pruning.allocation import Reached, check_sparsity
from epsd_mm.pruning.finite import is_finite

from .channels import Channels
from .groups import Group, Groups

#: Numbers of units by name of the group.
Widths = Mapping[str, int]

# Shares of all units that are tried, where every group keeps the same share.
_SHARES = 2**20


@dataclass(frozen=True)
class Budget:
    """What is asked of channels: how much of a network remains, and where.

    For units it is what :class:`~epsd_mm.pruning.Target` is for weights.
    Units are kept in the order of their scores, the highest first; ties are
    broken by the name of the group, then by the number of the unit. The
    width of a group is then rounded to the nearest one that it may have, and
    of all networks that this order leads to, the largest within the budget
    is the answer.

    Attributes:
        groups: Which units there are.
        sizes: Shape of each weight that is counted, by name: all prunable
            ones, in a group or not.
        prices: What one entry of a weight costs, by name: 1 where weights
            are counted; how often it multiplies where multiply-adds are.
        sparsity: Fraction of the whole price to remove.
        allocation: :class:`~epsd_mm.pruning.Global` ranks the units of all
            groups together, :class:`~epsd_mm.pruning.Uniform` keeps the same
            share of each. ``min_density`` is a floor: the share of its units
            that each group keeps at least.
        multiple_of: The channels of a layer are a multiple of this number,
            or as many as they were: odd widths are slow.
        allow_empty: Where the order leaves nothing of a group, keep its
            narrowest width; it is an error otherwise.
        exact: Otherwise it is a step on the way: rather the next wider
            network, so that later steps have what they may round to.
    """

    groups: Groups
    sizes: Mapping[str, torch.Size]
    prices: Mapping[str, float]
    sparsity: float
    allocation: Allocation
    multiple_of: int = 8
    allow_empty: bool = False
    exact: bool = True

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_allocation(self.allocation)
        if type(self.multiple_of) is not int or self.multiple_of < 1:
            raise ValueError(
                f'multiple_of={self.multiple_of!r} must be an integer >= 1'
            )

    def check(self) -> None:
        """Raise where it cannot be kept, before anything is scored.

        Raises:
            ValueError: There is nothing to remove, or what stays whole
                costs more than the budget.
        """
        narrow = {
            name: widths[0] for name, widths in self._possible(None).items()
        }
        full = {name: group.units for name, group in self.groups.items()}
        if narrow == full:
            raise ValueError(
                f'no channel can be removed: {self._reasons()}. Exclude '
                'fewer layers, lower multiple_of or min_density, or prune '
                'single weights'
            )
        least = self.price(narrow)
        if least > self._limit:
            whole = self.price(full)
            raise ValueError(
                f'sparsity={self.sparsity} cannot be reached by removing '
                f'channels: {1 - least / whole:.4f} is the most. What is '
                f'left is of layers whose channels stay ({self._reasons()}), '
                'and of the narrowest widths that multiple_of='
                f'{self.multiple_of} and min_density='
                f'{self.allocation.min_density} allow: ask for less, or lower '
                'these'
            )

    def certainly_empty(self) -> list[str]:
        """None: whatever the scores, a group keeps its narrowest width."""
        return []

    def select(
        self, scores: Mapping[str, Tensor], within: Masks | None = None
    ) -> Channels:
        """The channels with the highest scores.

        Args:
            scores: Of the units, of shape (units,), by name of the group.
            within: Keep only units that these keep.

        Raises:
            ValueError: Scores are not finite, or nothing would be left of a
                group.
        """
        if self.exact:
            self.check()
        ranked = {
            name: _comparable(name, scores[name]) for name in self.groups
        }
        if within is not None:
            ranked = {
                name: row.masked_fill(~within[name], -math.inf)
                for name, row in ranked.items()
            }
        possible = self._possible(within)
        if isinstance(self.allocation, Uniform):
            widths = self._uniform(possible)
        else:
            widths = self._together(ranked, possible)
        return Channels(
            {name: _top(row, widths[name]) for name, row in ranked.items()}
        )

    def at(self, reached: Reached) -> 'Budget':
        """What is asked on the way there.

        Args:
            reached: How far a final sparsity has been reached.
        """
        return replace(self, sparsity=reached(self.sparsity), exact=False)

    def without(self, names: Collection[str]) -> 'Budget':
        """The same budget of the network, where some groups stay whole."""
        if not names:
            return self
        left = (g for name, g in self.groups.items() if name not in names)
        whole = dict.fromkeys(names, 'all their scores are exactly zero')
        whole = {**self.groups.whole, **whole}
        groups = Groups(left, whole, self.groups.attributes)
        return replace(self, groups=groups)

    def price(self, widths: Widths) -> float:
        """What is left of the network costs, for widths of all groups."""
        total = 0.0
        for name, shape in self.sizes.items():
            left = list(shape)
            for axis, group, entries in self._cuts.get(name, ()):
                units = self.groups[group].units
                left[axis] -= (units - widths[group]) * entries
            total += self.prices[name] * math.prod(left)
        return total

    @cached_property
    def _cuts(self) -> dict[str, list[tuple[int, str, int]]]:
        """Axis, group and entries a unit, by name of the weight."""
        cuts: dict[str, list] = {}
        for name, group in self.groups.items():
            for member in group.members:
                cut = member.axis, name, member.index.shape[1]
                cuts.setdefault(member.name, []).append(cut)
        return cuts

    @property
    def _limit(self) -> float:
        full = {name: group.units for name, group in self.groups.items()}
        # A price that is met but for rounding errors is met.
        return (1 - self.sparsity) * self.price(full) * (1 + 1e-12)

    def _possible(self, within: Masks | None) -> dict[str, list[int]]:
        """Numbers of units that each group may keep, none excepted."""
        return {
            name: _widths(
                group,
                self.multiple_of,
                self.allocation.min_density,
                group.units if within is None else int(within[name].sum()),
            )
            for name, group in self.groups.items()
        }

    def _uniform(self, possible: Mapping[str, list[int]]) -> dict[str, int]:
        def widths(share: int) -> dict[str, int]:
            return {
                name: _nearest(possible[name], group.units * share / _SHARES)
                for name, group in self.groups.items()
            }

        return widths(self._most(_SHARES, widths))

    def _together(
        self,
        ranked: Mapping[str, Tensor],
        possible: Mapping[str, list[int]],
    ) -> dict[str, int]:
        names = sorted(ranked)
        owners = torch.cat(
            [torch.full((len(ranked[n]),), i) for i, n in enumerate(names)]
        )
        flat = torch.cat([ranked[name] for name in names])
        owners = owners[flat.argsort(descending=True, stable=True)]

        def counts(kept: int) -> list[int]:
            return owners[:kept].bincount(minlength=len(names)).tolist()

        def widths(kept: int) -> dict[str, int]:
            return {
                name: _nearest(possible[name], count)
                for name, count in zip(names, counts(kept))
            }

        kept = self._most(len(owners), widths)
        if self.exact and not self.allocation.min_density:
            self._check_not_empty(names, counts(kept))
        return widths(kept)

    def _most(self, whole: int, widths: Callable[[int], Widths]) -> int:
        """The largest number whose widths are within the budget.

        On the way, the next one. The price falls as the number does.
        """

        def fits(removed: int) -> bool:
            return self.price(widths(whole - removed)) <= self._limit

        removed = bisect_left(range(whole), True, key=fits)
        if removed and not self.exact:
            removed -= 1
        return whole - removed

    def _check_not_empty(self, names: list[str], counts: list[int]) -> None:
        empty = [name for name, count in zip(names, counts) if not count]
        if empty and not self.allow_empty:
            raise ValueError(
                f'sparsity={self.sparsity:.6g} leaves no channel of '
                f'{len(empty)} of {len(names)} groups: {", ".join(empty)}. '
                'Lower the sparsity, give every group a floor '
                '(allocation=dict(type="global", min_density=0.1)) or the '
                'same share (allocation="uniform"), or exclude these layers'
            )

    def _reasons(self) -> str:
        reasons: dict[str, int] = {}
        for reason in self.groups.whole.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        narrow = [
            name
            for name, widths in self._possible(None).items()
            if len(widths) == 1
        ]
        told = [f'{count} {reason}' for reason, count in reasons.items()]
        if narrow:
            told.append(
                f'{len(narrow)} too narrow for multiple_of={self.multiple_of}'
            )
        return '; '.join(told) or 'none'


def check_allocation(allocation: Allocation | None) -> None:
    """Raise where an allocation does not fit units.

    Raises:
        ValueError: It is not global or uniform, or keeps a layer dense.
    """
    if allocation is None:
        return
    if type(allocation) not in (Global, Uniform):
        raise ValueError(
            f'{type(allocation).__name__} divides single weights among '
            'layers: the channels of several layers go together, so that '
            "allocation must be 'global' or 'uniform'"
        )
    dense = [
        name
        for name in ('dense_first', 'dense_last')
        if getattr(allocation, name)
    ]
    if dense:
        raise ValueError(
            f'{" and ".join(dense)} has no meaning for channels, which go '
            'from several layers together: name layers in exclude=[...]; '
            'the outputs of the last one stay anyway'
        )


def _widths(
    group: Group, multiple_of: int, floor: float, left: int
) -> list[int]:
    """Numbers of units that a group may keep, in rising order.

    Args:
        group: Its units may be several channels each.
        multiple_of: Of which the number of channels is one.
        floor: Share of the units that is kept at least.
        left: Number of units that are left to keep.
    """
    step = multiple_of // math.gcd(multiple_of, group.channels)
    least = math.ceil(floor * group.units - 1e-9)
    widths = [n for n in range(step, group.units, step) if n >= least]
    widths = [n for n in [*widths, group.units] if n <= left]
    return widths or [left]


def _nearest(widths: list[int], wanted: float) -> int:
    """The width that is nearest, and of two the wider one."""
    return min(widths, key=lambda width: (abs(width - wanted), -width))


def _top(row: Tensor, count: int) -> Tensor:
    mask = torch.zeros(len(row), dtype=torch.bool)
    mask[row.argsort(descending=True, stable=True)[:count]] = True
    return mask


def _comparable(name: str, row: Tensor) -> Tensor:
    """On the CPU, in the precision that loses nothing."""
    row = row.detach().to('cpu', torch.float64)
    if not is_finite(row):
        raise ValueError(
            f'the scores of {name!r} are not all finite: '
            f'{int((~row.isfinite()).sum())} of {len(row)} units have none; '
            'rank finite numbers, with 0 for what may go first'
        )
    return row
