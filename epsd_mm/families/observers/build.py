"""Which observer fits a model."""

from torch import nn

from .anchors import AnchorObserver
from .atss import ATSSObserver
from .base import Observer
from .classifier import ClassifierObserver
from .fcos import FCOSObserver
from .two_stage import TwoStageObserver

_FAMILIES = (
    TwoStageObserver,
    AnchorObserver,
    FCOSObserver,
    ATSSObserver,
    ClassifierObserver,
)


def build_observer(model: nn.Module) -> Observer:
    """The observer of the model's family.

    Raises:
        TypeError: No family fits; names those that are supported.
    """
    for observer in _FAMILIES:
        if observer.accepts(model):
            return observer(model)
    head = getattr(model, 'roi_head', None) or getattr(
        model, 'bbox_head', getattr(model, 'head', None)
    )
    raise TypeError(
        f'self-distillation cannot see the predictions of '
        f'{type(model).__name__} with head {type(head).__name__}'
        f'{_losses(head)}. Supported '
        'are classifiers with a ClsHead; detectors with a StandardRoIHead '
        '(Faster R-CNN) or CascadeRoIHead (Cascade R-CNN) and a softmax '
        'cross-entropy; detectors with a RetinaHead, an SSDHead, or another '
        'AnchorHead that assigns anchors and sums its losses as these do; '
        'detectors with an FCOSHead or an ATSSHead. '
        'For pruning without self-distillation set sd_loss=None'
    )


def _losses(head: nn.Module | None) -> str:
    """The classification losses of a head, which decide as much as it."""
    parts = head.modules() if isinstance(head, nn.Module) else ()
    losses = (
        getattr(part, name, None)
        for part in parts
        for name in ('loss_cls', 'loss_module')
    )
    names = dict.fromkeys(_name(x) for x in losses if x is not None)
    return f' and classification loss {" and ".join(names)}' if names else ''


def _name(loss: nn.Module) -> str:
    sigmoid = getattr(loss, 'use_sigmoid', False)
    return type(loss).__name__ + ('(use_sigmoid=True)' if sigmoid else '')
