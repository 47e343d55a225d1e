"""What every observer offers, and which one fits a model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from ..observation import Observation


class Observer(ABC):
    """Taps a model for the duration of one forward pass in loss mode.

    Nothing of the model's classes is imported: a family is known by the
    names of its classes, so that no package is needed that is not used.

    Args:
        model: The model, unwrapped.
    """

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


def build_observer(model: nn.Module) -> Observer:
    """The observer of the model's family.

    Raises:
        TypeError: No family fits; names those that are supported.
    """
    from .classifier import ClassifierObserver
    from .two_stage import TwoStageObserver

    for observer in (TwoStageObserver, ClassifierObserver):
        if observer.accepts(model):
            return observer(model)
    head = getattr(model, 'roi_head', None) or getattr(
        model, 'bbox_head', getattr(model, 'head', None)
    )
    raise TypeError(
        f'self-distillation cannot see the predictions of '
        f'{type(model).__name__} with head {type(head).__name__}. Supported '
        'are classifiers with a ClsHead and two-stage detectors with a '
        'StandardRoIHead and a softmax classifier; for pruning without '
        'self-distillation set sd_loss=None'
    )


def class_names(obj: object) -> set[str]:
    """Names of the classes that an object is an instance of."""
    return {base.__name__ for base in type(obj).__mro__}
