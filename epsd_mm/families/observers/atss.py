"""Predictions of ATSS, and of heads that assign and sum up as it does."""

from typing import Any

from torch import nn

from .divisors import DividedLossMixin
from .labelled import LabelledObserver

_METHODS = (*LabelledObserver.methods, 'loss_by_feat_single')


class ATSSObserver(DividedLossMixin, LabelledObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the anchors that adaptive selection gives
    it (Zhang et al., CVPR 2020): logits of the classes, without centerness.
    For mmdet's ``ATSSHead``.
    """

    head = 'ATSSHead'
    owners = frozenset({'ATSSHead'})
    methods = _METHODS


class GFLObserver(DividedLossMixin, LabelledObserver):
    """The same of GFL (Li et al., NeurIPS 2020).

    Its logits are those of class and quality in one, as it has no others.
    For mmdet's ``GFLHead``.
    """

    head = 'GFLHead'
    owners = frozenset({'GFLHead'})
    methods = _METHODS
    losses = frozenset({'QualityFocalLoss'})


class VFNetObserver(DividedLossMixin, LabelledObserver):
    """The same of VarifocalNet (Zhang et al., CVPR 2021), before refinement.

    Its logits are those of class and quality in one, as it has no others.
    For mmdet's ``VFNetHead`` with the anchors of ATSS, its default.
    """

    head = 'VFNetHead'
    owners = frozenset({'VFNetHead'})
    losses = frozenset({'VarifocalLoss', 'FocalLoss'})

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        return super().accepts(model) and model.bbox_head.use_atss


class DDODObserver(DividedLossMixin, LabelledObserver):
    """The same of DDOD (Chen et al., ACM MM 2021), for classification.

    What its other assigner gives to an object for regression has no part in
    the prediction; weights leave out how the head weighs its levels. For
    mmdet's ``DDODHead``.
    """

    head = 'DDODHead'
    owners = frozenset({'DDODHead'})
    methods = (
        '_get_targets_single',
        'get_cls_targets',
        'loss_by_feat',
        'loss_cls_by_feat_single',
    )

    def counts(self, arguments: Any) -> bool:
        return arguments.get('is_cls_assigner', True)
