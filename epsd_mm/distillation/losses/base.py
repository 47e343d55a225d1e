"""What every self-distillation loss offers."""

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..needs import Need
from ..observation import Observation
from ..teachers import Teacher


class SelfDistillationLoss(nn.Module, ABC):
    """Compares a prediction with another prediction of the same model.

    Args:
        loss_weight: Factor of the term in the training objective.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = positive('loss_weight', loss_weight)

    @abstractmethod
    def build_teacher(self) -> Teacher:
        """A fresh teacher of the kind that the loss needs."""

    @property
    def needs(self) -> Need:
        """What it needs of the batches: what its teacher does."""
        return self.build_teacher().needs

    @abstractmethod
    def forward(
        self,
        observation: Observation,
        rows: Tensor,
        found: Tensor,
        progress: float = 1.0,
    ) -> Tensor:
        """The term, a scalar.

        Args:
            observation: ``n`` samples with logits (n, C).
            rows: What the teacher recalls of them, shape (n, C), constants.
            found: Where there is a row, bool, shape (n,).
            progress: Share of the training that is done once this epoch
                is, in (0, 1]; for losses that grow in its course.
        """


def positive(name: str, value: float) -> float:
    """A setting, if it is a positive number.

    Raises:
        ValueError: It is not; names it.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 < value < math.inf):
        raise ValueError(
            f'{name}={value!r} must be positive and finite; for no '
            'self-distillation set sd_loss=None'
        )
    return value
