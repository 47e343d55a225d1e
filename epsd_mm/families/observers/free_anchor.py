"""Predictions of FreeAnchor."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .assigned import Assigned, AssignedObserver, TargetCall


class FreeAnchorObserver(AssignedObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over its bag: the anchors that overlap it most,
    of which the head learns to choose (Zhang et al., *FreeAnchor*, NeurIPS
    2019). How the head weighs them, by their own predictions, is left out.
    An anchor may be in the bags of several objects. For mmdet's
    ``FreeAnchorRetinaHead``.
    """

    head = 'FreeAnchorRetinaHead'
    asked = 'positive_loss_single'
    owners = frozenset({'FreeAnchorRetinaHead'})
    methods = (
        'loss_by_feat',
        'positive_loss_single',
        'positive_bag_loss',
        'negative_bag_loss',
    )
    # It is built, and has no part in what is learned.
    losses = frozenset({'Module'})

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        # It takes all columns as classes, and a background as one more.
        return super().accepts(model) and model.bbox_head.use_sigmoid_cls

    def read(self, call: TargetCall) -> Assigned:
        truth = call.arguments['gt_instances']
        bags = self._bags(truth.bboxes, call.arguments['flat_anchors'])
        priors = bags.flatten()
        places = torch.arange(len(bags), device=bags.device)
        objects = places.repeat_interleave(bags.shape[1])
        return Assigned(
            priors, objects, truth.labels[objects], torch.ones_like(priors)
        )

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        objects = sum(len(call.arguments['gt_instances']) for call in calls)
        return float(max(objects, 1) * self.model.bbox_head.pre_anchor_topk)

    def _bags(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Places of the anchors of each object, shape (objects, size)."""
        # As the head asks, so that anchors that overlap alike are the same.
        from mmdet.structures.bbox import bbox_overlaps

        size = self.model.bbox_head.pre_anchor_topk
        overlaps = bbox_overlaps(boxes, anchors)
        return torch.topk(overlaps, size, dim=1, sorted=False).indices
