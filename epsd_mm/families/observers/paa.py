"""Predictions of PAA."""

from .assigned import Assigned, AssignedObserver, TargetCall
from .divisors import DividedLossMixin


class PAAObserver(DividedLossMixin, AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the anchors that are left to it once a
    mixture of two Gaussians has split its candidates (Kim and Lee, ECCV
    2020): logits of the classes, without the predicted overlap. For mmdet's
    ``PAAHead``.
    """

    head = 'PAAHead'
    asked = 'paa_reassign'
    owners = frozenset({'PAAHead'})
    methods = (*AssignedObserver.methods, 'paa_reassign')

    def read(self, call: TargetCall) -> Assigned:
        labels, weights, *_ = call.targets
        candidates = call.arguments['pos_inds']
        kept = labels[candidates] < self.model.bbox_head.num_classes
        priors = candidates[kept]
        return Assigned(
            priors,
            call.arguments['pos_gt_inds'][kept],
            labels[priors],
            weights[priors],
        )
