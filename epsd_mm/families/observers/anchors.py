"""Predictions of one-stage detectors with anchors: RetinaNet and SSD."""

from collections.abc import Sequence

from .assigned import Assigned, AssignedObserver, TargetCall


class AnchorObserver(AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    For mmdet's ``RetinaHead``, ``SSDHead`` and other ``AnchorHead`` that
    assign anchors and sum their losses as these do. Others weigh anchors in
    a way of their own.
    """

    head = 'AnchorHead'
    owners = frozenset({'AnchorHead', 'SSDHead'})
    methods = (*AssignedObserver.methods, 'loss_by_feat_single')
    # SSD has no module.
    losses = AssignedObserver.losses | {'NoneType'}

    def read(self, call: TargetCall) -> Assigned:
        labels, weights, *_, sampled = call.targets
        classes = self.model.bbox_head.num_classes
        return Assigned.by_labels(labels, weights, sampled, classes)

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return sum(call.targets[-1].avg_factor for call in calls)
