"""Predictions of RTMDet."""

from collections.abc import Iterable

from torch import nn

from .divisors import DividedAfterwardsMixin
from .labelled import LabelledObserver


class RTMDetObserver(DividedAfterwardsMixin, LabelledObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the points that dynamic soft labels give
    it in this step (Lyu et al., *RTMDet*, 2022): logits of the classes,
    without objectness. Its weight is the number of these points over the sum
    of all qualities, as the head has it. For mmdet's ``RTMDetHead`` and
    ``RTMDetSepBNHead``, and their kin with masks.
    """

    head = 'RTMDetHead'
    owners = frozenset({'RTMDetHead', 'RTMDetInsHead'})
    methods = (*LabelledObserver.methods, 'loss_by_feat_single')
    losses = frozenset({'QualityFocalLoss'})

    def classifiers(self) -> Iterable[nn.Module]:
        last = self.model.bbox_head.rtm_cls
        return last if isinstance(last, nn.ModuleList) else [last]
