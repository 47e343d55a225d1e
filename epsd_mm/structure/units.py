"""Channels of several layers, as what is kept together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from epsd_mm.pruning import Allocation, Criterion, Global, Structure

from .budget import Budget, check_allocation
from .groups import Group, Groups
from .scores import By, UnitScores, chosen

_OF = ('weights', 'multiply_adds')


@dataclass(frozen=True)
class Units(Structure):
    """Units of coupled layers go as a whole: channels, neurons, heads.

    Attributes:
        of: What ``sparsity`` is a fraction of: ``'weights'``, the prunable
            ones, or ``'multiply_adds'``, theirs in a training step.
        multiple_of: The channels that a layer keeps are a multiple of this
            number, or all of them.
        scores: ``'gate'``, ``'mean'`` or ``'members'``, see
            :class:`~epsd_mm.structure.UnitScores`; by default what the
            criterion can do.
        kind: What users call such units.

    Raises:
        ValueError: A value is none of these.
    """

    kind: ClassVar[str] = 'channels'

    of: str = 'weights'
    multiple_of: int = 8
    scores: By | None = None

    def __post_init__(self) -> None:
        if self.of not in _OF:
            raise ValueError(
                f'of={self.of!r} must be one of {", ".join(map(repr, _OF))}'
            )
        if type(self.multiple_of) is not int or self.multiple_of < 1:
            raise ValueError(
                f'multiple_of={self.multiple_of!r} must be an integer >= 1'
            )

    def check(
        self, criterion: Criterion | None, allocation: Allocation | None
    ) -> None:
        """Raise where these do not go with units.

        Raises:
            ValueError: Says what would.
        """
        check_allocation(allocation)
        if criterion is not None:
            chosen(criterion, self.scores)

    def stays(self, group: Group, model: nn.Module) -> str:
        """Why a group is not of these units; empty for no reason.

        Args:
            group: Of the model.
            model: With the layers of the group.
        """
        return ''

    def check_found(self, groups: Groups, model: nn.Module) -> None:
        """Raise where a model has too few of these units.

        Raises:
            ValueError: Says what it lacks.
        """
        if not groups:
            why = '; '.join(groups.reasons()) or 'the groups are empty'
            raise ValueError(
                f'structure={self.kind!r} finds no {self.kind} of '
                f'{type(model).__name__} that may go: {why}. Prune single '
                'weights (without structure), or another model'
            )

    def criterion(self, criterion: Criterion, groups: Groups) -> UnitScores:
        """The criterion over units."""
        return UnitScores(criterion, groups, self.scores)

    def budget(
        self,
        groups: Groups,
        weights: Mapping[str, Tensor],
        sparsity: float,
        allocation: Allocation | None = None,
        prices: Mapping[str, float] | None = None,
    ) -> Budget:
        """What is asked of the channels.

        Args:
            groups: The units that may go.
            weights: All prunable ones, in a group or not.
            sparsity: Fraction to remove.
            allocation: How the rest is divided.
            prices: Of one entry of each weight, where other things than
                weights are counted.
        """
        sizes = {name: torch.Size(w.shape) for name, w in weights.items()}
        return Budget(
            groups,
            sizes,
            prices or dict.fromkeys(sizes, 1.0),
            sparsity,
            allocation or Global(),
            self.multiple_of,
        )
