"""What every observer offers."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

from torch import nn

from epsd_mm.distillation.observation import Observation, image_key


class Observer(ABC):
    """Taps a model for the duration of one forward pass in loss mode.

    Nothing of the model's classes is imported: a family is known by the
    names of its classes, so that no package is needed that is not used.

    Args:
        model: The model, unwrapped.

    Attributes:
        of_objects: Whether its samples are annotated objects, not images.
        use_sigmoid: Whether the classes are independent probabilities.
        path_parts: Parts at the end of its path that an image is known by;
            ``None`` for the whole path.
    """

    of_objects: bool = False
    use_sigmoid: bool = False
    path_parts: int | None = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @classmethod
    @abstractmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the model belongs to the family."""

    @abstractmethod
    def start(self) -> None:
        """Install the taps."""

    @abstractmethod
    def stop(self) -> None:
        """Remove them; what they saw stays until the next start."""

    @abstractmethod
    def observe(self, data_samples: Sequence) -> Observation:
        """What was seen between start and stop.

        Args:
            data_samples: The samples of the forward pass, preprocessed.
        """

    def image_keys(self, data_samples: Sequence) -> list[Hashable | None]:
        """What identifies the image of each sample across epochs."""
        return [image_key(s, self.path_parts) for s in data_samples]
