"""Predictions of ATSS."""

from .assigned import (
    Assigned,
    AssignedObserver,
    DividedLossMixin,
    TargetCall,
)


class ATSSObserver(DividedLossMixin, AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the anchors that adaptive selection gives
    it (Zhang et al., CVPR 2020): logits of the classes, without centerness.
    For mmdet's ``ATSSHead``; heads that derive from it (VFNet, TOOD, PAA)
    change what is assigned or how it counts, and are not accepted.
    """

    head = 'ATSSHead'
    owners = frozenset({'ATSSHead'})
    methods = (*AssignedObserver.methods, 'loss_by_feat_single')

    def read(self, call: TargetCall) -> Assigned:
        _, labels, weights, *_ = call.targets
        classes = self.model.bbox_head.num_classes
        return Assigned.by_labels(labels, weights, call.sampled, classes)
