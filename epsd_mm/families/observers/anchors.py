"""Predictions of one-stage detectors with anchors: RetinaNet, SSD and kin."""

from collections.abc import Sequence

from .assigned import TargetCall
from .labelled import LabelledObserver


class AnchorObserver(LabelledObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    For mmdet's ``RetinaHead``, ``SSDHead`` and other ``AnchorHead`` that
    assign anchors and sum their losses as these do. Two weigh single anchors
    in a way of their own, which is left out of an object's weight:
    ``PISARetinaHead`` by the rank of their boxes (Cao et al., CVPR 2020), and
    the loss ``GHMC`` by the density of gradients (Li et al., AAAI 2019).
    """

    head = 'AnchorHead'
    owners = frozenset({'AnchorHead', 'SSDHead', 'PISARetinaHead'})
    methods = (*LabelledObserver.methods, 'loss_by_feat_single')
    # SSD has no module.
    losses = LabelledObserver.losses | {'NoneType', 'GHMC'}

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return sum(call.sampled.avg_factor for call in calls)


class SABLObserver(AnchorObserver):
    """The same of SABL's one-stage detector (Wang et al., ECCV 2020).

    The anchors are squares. For mmdet's ``SABLRetinaHead``.
    """

    head = 'SABLRetinaHead'
    owners = frozenset({'SABLRetinaHead'})
