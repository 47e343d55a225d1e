"""Predictions of FCOS."""

import torch
from torch import Tensor

from .assigned import (
    Assigned,
    AssignedObserver,
    DividedLossMixin,
    TargetCall,
)


class FCOSObserver(DividedLossMixin, AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the points that are to regress its box
    (Tian et al., ICCV 2019): logits of the classes, without centerness. Of
    objects of one class with the very same box the first has them all. For
    mmdet's ``FCOSHead``; heads that assign otherwise are not accepted.
    """

    head = 'FCOSHead'
    owners = frozenset({'FCOSHead'})

    def read(self, call: TargetCall) -> Assigned:
        labels, distances = call.targets
        truth = call.arguments['gt_instances']
        classes = self.model.bbox_head.num_classes
        priors = (labels < classes).nonzero()[:, 0]
        labels = labels[priors]
        boxes = _boxes(call.arguments['points'][priors], distances[priors])
        return Assigned(
            priors,
            _nearest(boxes, labels, truth.bboxes, truth.labels),
            labels,
            torch.ones_like(labels),
        )


def _boxes(points: Tensor, distances: Tensor) -> Tensor:
    """Corners (p, 4) of what lies left, above, right and below of points."""
    left, top = (points - distances[:, :2]).unbind(dim=1)
    right, bottom = (points + distances[:, 2:]).unbind(dim=1)
    return torch.stack([left, top, right, bottom], dim=1)


def _nearest(
    boxes: Tensor, labels: Tensor, truths: Tensor, classes: Tensor
) -> Tensor:
    """The object that each box is, up to rounding; int64 of shape (p,)."""
    if not len(boxes):
        return torch.zeros_like(labels)
    apart = (boxes[:, None] - truths).abs().sum(dim=2)
    other = labels[:, None] != classes
    return apart.masked_fill(other, torch.inf).argmin(dim=1)
