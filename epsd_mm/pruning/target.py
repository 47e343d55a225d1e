"""What is asked of masks: how sparse, and how divided and shaped."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .allocation import Allocation, ByGlob, Global, Reached
from .masks import Masks
from .selection import certainly_empty, select
from .structures import NM, LayerStructure, Weights


@dataclass(frozen=True)
class Target:
    """Sparsity, allocation and structure of masks of given shapes.

    Attributes:
        shapes: Shapes of the prunable weights, in the model's order.
        sparsity: Fraction of them to remove.
        allocation: How kept weights are divided among the layers.
        structure: What is kept together.
        exact: Otherwise the nearest number that can be kept will do.
    """

    shapes: Mapping[str, torch.Size]
    sparsity: float
    allocation: Allocation
    structure: LayerStructure
    exact: bool = True

    @classmethod
    def over(
        cls,
        prunable: Mapping[str, Tensor],
        sparsity: float,
        allocation: Allocation | None = None,
        structure: LayerStructure | None = None,
    ) -> 'Target':
        """A target for weights, or for masks of them.

        By default all layers are ranked together, weight by weight.
        """
        shapes = {name: tensor.shape for name, tensor in prunable.items()}
        return cls(
            shapes, sparsity, allocation or Global(), structure or Weights()
        )

    def check(self, within: Masks | None = None) -> None:
        """Raise where it cannot be reached, before anything is scored.

        Args:
            within: Only weights that these masks keep can be kept.

        Raises:
            ValueError: As :func:`select`; or the masks are of other weights.
        """
        ones = {name: torch.ones(shape) for name, shape in self.shapes.items()}
        if within is not None:
            within.check_fits(ones)
        self.select(ones, within)

    def certainly_empty(self) -> list[str]:
        """Layers of which nothing is kept, whatever their scores are."""
        return certainly_empty(
            self.shapes, self.sparsity, self.allocation, self.structure
        )

    def select(
        self, scores: Mapping[str, Tensor], within: Masks | None = None
    ) -> Masks:
        """The masks of the highest scores, see :func:`select`.

        Args:
            scores: Scores by parameter name.
            within: Keep only weights that these masks keep.
        """
        return select(
            scores,
            self.sparsity,
            self.allocation,
            self.structure,
            within,
            self.exact,
        )

    def at(self, reached: Reached) -> 'Target':
        """What is asked on the way there.

        Args:
            reached: How far a final sparsity has been reached, such as
                ``lambda final: schedule.sparsity(final, k)``.
        """
        allocation, sparsity = self.allocation.on_the_way(
            reached, self.sparsity, self.shapes, self._units()
        )
        structure = self.structure.relaxed(1 - reached(self.sparsity))
        return Target(
            self.shapes, sparsity, allocation, structure, exact=False
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

    @property
    def largest_unit(self) -> int:
        """Most weights that are kept or removed together."""
        return max(self._units().values())

    def _units(self) -> dict[str, int]:
        """Weights a unit, of all layers."""
        dense = self.allocation.dense(self.shapes)
        return {
            name: 1 if name in dense else self.structure.unit_size(name, shape)
            for name, shape in self.shapes.items()
        }

    def _settled(self) -> float | None:
        """The sparsity, where that of each layer is settled."""
        dense = self.allocation.dense(self.shapes)
        ranked = [name for name in self.shapes if name not in dense]
        if isinstance(self.structure, NM):
            removed = dict.fromkeys(
                ranked, 1 - self.structure.n / self.structure.m
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
