"""Which observer fits a model."""

from torch import nn

from ..kinds import class_names
from .anchors import AnchorObserver, SABLObserver
from .assigned import AssignedObserver
from .atss import ATSSObserver, DDODObserver, GFLObserver, VFNetObserver
from .base import Observer
from .centernet import CenterNetObserver
from .classifier import ClassifierObserver
from .detr import QueryObserver
from .fcos import FCOSObserver
from .foveabox import FoveaBoxObserver
from .free_anchor import FreeAnchorObserver
from .fsaf import FSAFObserver
from .lad import LADObserver
from .paa import PAAObserver
from .refused import reason
from .rtmdet import RTMDetObserver
from .sparse import SparseObserver
from .tood import TOODObserver
from .two_stage import TwoStageObserver
from .yolo import YOLOFObserver, YOLOv3Observer, YOLOXObserver

_DENSE: tuple[type[AssignedObserver], ...] = (
    ATSSObserver,
    DDODObserver,
    FCOSObserver,
    FSAFObserver,
    FoveaBoxObserver,
    FreeAnchorObserver,
    GFLObserver,
    LADObserver,
    PAAObserver,
    RTMDetObserver,
    SABLObserver,
    TOODObserver,
    VFNetObserver,
    YOLOFObserver,
    YOLOv3Observer,
    YOLOXObserver,
)
_FAMILIES: tuple[type[Observer], ...] = (
    TwoStageObserver,
    AnchorObserver,
    *_DENSE,
    CenterNetObserver,
    QueryObserver,
    SparseObserver,
    ClassifierObserver,
)


def build_observer(model: nn.Module) -> Observer:
    """The observer of the model's family.

    Raises:
        TypeError: No family fits; names those that are supported. Or the
            model has several heads, of which one would be seen.
    """
    _refuse_several(model)
    for observer in _FAMILIES:
        if observer.accepts(model):
            return observer(model)
    head = getattr(model, 'roi_head', None) or getattr(
        model, 'bbox_head', getattr(model, 'head', None)
    )
    raise TypeError(
        f'self-distillation cannot see the predictions of '
        f'{type(model).__name__} with head {type(head).__name__}'
        f'{_losses(head)}{reason(head)}{_refusals(model)}. Supported '
        'are classifiers with a ClsHead or MultiLabelClsHead; detectors '
        'with a StandardRoIHead (Faster R-CNN) or CascadeRoIHead (Cascade '
        'R-CNN) and a softmax cross-entropy; detectors with a RetinaHead, an '
        'SSDHead, or another '
        'AnchorHead that assigns anchors and sums its losses as these do; '
        'detectors with one of the heads CenterNetHead, '
        f'{", ".join(dense.head for dense in _DENSE)}, as mmdet has them; '
        'DETR and its kin (DETRHead, DINOHead), Sparse R-CNN and QueryInst '
        '(SparseRoIHead). '
        'For pruning without self-distillation set sd_loss=None'
    )


def _refuse_several(model: nn.Module) -> None:
    heads = [
        name
        for name, child in model.named_children()
        if class_names(child) & {'BaseDenseHead', 'BaseRoIHead'}
        and name != 'rpn_head'  # it proposes, and tells no classes
    ]
    if len(heads) > 1:
        raise TypeError(
            f'{type(model).__name__} has several heads that classify objects '
            f'({", ".join(heads)}), and self-distillation compares the '
            'predictions of one: leave the others out of the model, or set '
            'sd_loss=None for pruning without self-distillation'
        )


def _refusals(model: nn.Module) -> str:
    reasons = (observer.refusal(model) for observer in _FAMILIES)
    return ''.join(f' ({reason})' for reason in reasons if reason)


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
    # Of a copy that is scored, by the name that the config has.
    name = type(loss).__name__.removeprefix('TwiceDifferentiable')
    return name + ('(use_sigmoid=True)' if sigmoid else '')
