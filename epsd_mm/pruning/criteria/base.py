"""What every criterion offers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..masks import Masks
from ..objective import Objective, Params


class Criterion(ABC):
    """Scores weights; those with the highest scores are kept.

    Attributes:
        steps_per_draw: Items that :meth:`scores` takes from ``batches``;
            0 for a criterion that needs no data.
        evaluations: How often it evaluates the objective on a batch, for
            the progress bar.
    """

    steps_per_draw: int = 1
    evaluations: int = 1

    @abstractmethod
    def scores(
        self,
        objective: Objective,
        params: Params,
        masks: Masks,
        batches: Iterator[Sequence[Any]],
    ) -> dict[str, Tensor]:
        """Score the weights that ``masks`` covers.

        Args:
            objective: The loss.
            params: Every weight that requires a gradient, by name.
            masks: The prunable weights, and which of them are left.
            batches: Yields the list of batches of one step at a time.

        Returns:
            Non-negative scores with the shapes of the weights. A weight
            that the objective does not reach is left out.
        """
