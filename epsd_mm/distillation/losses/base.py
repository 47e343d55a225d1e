"""What every self-distillation loss offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..observation import Observation
from ..teachers import Teacher


class SelfDistillationLoss(nn.Module, ABC):
    """Compares a prediction with another prediction of the same model.

    Args:
        loss_weight: Factor of the term in the training objective.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not loss_weight > 0:
            raise ValueError(
                f'loss_weight={loss_weight!r} must be positive; without the '
                'term, set sd_loss=None'
            )
        self.loss_weight = loss_weight

    @property
    def settings(self) -> dict:
        """The options that it was built with."""
        own = vars(self).items()
        return {k: v for k, v in own if k[0] != '_' and k != 'training'}

    @abstractmethod
    def build_teacher(self) -> Teacher:
        """A fresh teacher of the kind that the loss needs."""

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


def check_temperature(temperature: float) -> float:
    """The temperature, if it is one.

    Raises:
        ValueError: It is not positive.
    """
    if not temperature > 0:
        raise ValueError(f'temperature={temperature!r} must be positive')
    return temperature
