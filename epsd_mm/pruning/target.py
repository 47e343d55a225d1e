"""What is asked of masks: how sparse, and how divided and shaped."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from .allocation import Allocation, ByGlob
from .patterns import NM, Pattern
from .schedule import Schedule
from .selection import select


@dataclass(frozen=True)
class Target:
    """Sparsity, allocation and pattern of masks of given shapes.

    Attributes:
        shapes: Shapes of the prunable weights, in the model's order.
        sparsity: Fraction of them to remove.
        allocation: How kept weights are divided among the layers.
        pattern: What is kept together.
    """

    shapes: Mapping[str, torch.Size]
    sparsity: float
    allocation: Allocation
    pattern: Pattern

    def check(self) -> None:
        """Raise where it cannot be reached, before anything is scored.

        Raises:
            ValueError: As :func:`select`.
        """
        select(
            {name: torch.ones(shape) for name, shape in self.shapes.items()},
            self.sparsity,
            self.allocation,
            self.pattern,
        )

    def at(self, schedule: Schedule, k: int) -> dict[str, Any]:
        """What :func:`select` is told in round ``k`` of a schedule."""
        if k == schedule.rounds:
            return dict(
                sparsity=self.sparsity,
                allocation=self.allocation,
                pattern=self.pattern,
            )
        reached = partial(schedule.sparsity, k=k)
        allocation, sparsity = self.allocation.on_the_way(
            reached, self.sparsity, self.shapes, self._units()
        )
        return dict(
            sparsity=sparsity,
            allocation=allocation,
            pattern=self.pattern.relaxed(1 - reached(self.sparsity)),
            exact=False,
        )

    def without(self, names: Collection[str]) -> 'Target':
        """What is asked of the other layers where some stay whole.

        It is the same sparsity, unless globs settle the sparsity of each
        of them: then it is what comes of those.
        """
        if not names:
            return self
        other = replace(
            self,
            shapes={n: s for n, s in self.shapes.items() if n not in names},
            allocation=self.allocation.without(names, self.shapes),
        )
        return replace(other, sparsity=other._settled() or self.sparsity)

    def _units(self) -> dict[str, int]:
        """Weights a unit, of all layers."""
        dense = self.allocation.dense(self.shapes)
        return {
            name: 1 if name in dense else self.pattern.unit_size(name, shape)
            for name, shape in self.shapes.items()
        }

    def _settled(self) -> float | None:
        """The sparsity, where that of each layer is settled."""
        dense = self.allocation.dense(self.shapes)
        ranked = [name for name in self.shapes if name not in dense]
        if isinstance(self.pattern, NM):
            removed = dict.fromkeys(
                ranked, 1 - self.pattern.n / self.pattern.m
            )
        elif isinstance(self.allocation, ByGlob):
            removed = self.allocation.matching(ranked)
        else:
            return None
        if len(removed) < len(ranked):
            return None
        sizes = {name: shape.numel() for name, shape in self.shapes.items()}
        weights = sum(share * sizes[name] for name, share in removed.items())
        return weights / sum(sizes.values())
