"""Which observer fits a model."""

from torch import nn

from .base import Observer
from .classifier import ClassifierObserver
from .dense import DenseObserver
from .two_stage import TwoStageObserver


def build_observer(model: nn.Module) -> Observer:
    """The observer of the model's family.

    Raises:
        TypeError: No family fits; names those that are supported.
    """
    for observer in (TwoStageObserver, DenseObserver, ClassifierObserver):
        if observer.accepts(model):
            return observer(model)
    head = getattr(model, 'roi_head', None) or getattr(
        model, 'bbox_head', getattr(model, 'head', None)
    )
    raise TypeError(
        f'self-distillation cannot see the predictions of '
        f'{type(model).__name__} with head {type(head).__name__}. Supported '
        'are classifiers with a ClsHead; detectors with a StandardRoIHead '
        '(Faster R-CNN) or CascadeRoIHead (Cascade R-CNN) and softmax '
        'classifiers; detectors with a RetinaHead, an SSDHead, or another '
        'AnchorHead that assigns anchors and sums its losses as these do. '
        'For pruning without self-distillation set sd_loss=None'
    )
