"""What every self-distillation loss offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..observation import Observation
from ..teachers import Teacher


class SelfDistillationLoss(nn.Module, ABC):
    """Compares a prediction with another prediction of the same model.

    Args:
        temperature: Both predictions are softened by it.
        loss_weight: Factor of the term in the training objective.
    """

    def __init__(self, temperature: float, loss_weight: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f'temperature={temperature!r} must be positive')
        if not loss_weight > 0:
            raise ValueError(
                f'loss_weight={loss_weight!r} must be positive; without the '
                'term, set sd_loss=None'
            )
        self.temperature = temperature
        self.loss_weight = loss_weight

    @abstractmethod
    def build_teacher(self) -> Teacher:
        """A fresh teacher of the kind that the loss needs."""

    @abstractmethod
    def forward(
        self, observation: Observation, rows: Tensor, found: Tensor
    ) -> Tensor:
        """The term, a scalar.

        Args:
            observation: ``n`` samples with logits (n, C).
            rows: The teacher's logits, shape (n, C), constants.
            found: Where there is a row, bool, shape (n,).
        """
