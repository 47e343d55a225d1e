"""What every observer offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any

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
        several_labels: Whether a sample has any number of classes, so that
            its label in an observation is −1.
        path_parts: Parts at the end of its path that an image is known by;
            ``None`` for the whole path.
    """

    of_objects: bool = False
    use_sigmoid: bool = False
    several_labels: bool = False
    path_parts: int | None = None

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @classmethod
    @abstractmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the model belongs to the family."""

    @classmethod
    def refusal(cls, model: nn.Module) -> str:
        """Why a model that looks like one of the family is none, if so."""
        return ''

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


def put_on(owner: object, name: str, value: Any) -> Callable[[], None]:
    """Let an object have an attribute for a while, whatever its class says.

    Returns:
        What takes it off, and puts back what others had put there.
    """
    own = vars(owner)
    before = {name: own[name]} if name in own else {}
    own[name] = value

    def take_off() -> None:
        del own[name]
        own.update(before)

    return take_off
