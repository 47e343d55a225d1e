"""Predictions of one-stage detectors with anchors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer
from .classifier import plain_cross_entropy
from .objects import Positives, observe_objects

# What a head must have left as it is in mmdet.
_METHODS = (
    'get_targets',
    '_get_targets_single',
    'loss_by_feat',
    'loss_by_feat_single',
)


class AnchorObserver(Observer):
    """The sample is an annotated object.

    Its prediction is the mean of the class logits of the anchors that are
    assigned to it in this step: ``C`` columns of independent classes for a
    sigmoid head (RetinaNet), ``C + 1`` with the background last for a
    softmax head (SSD). An object without such anchors is absent. Its weight
    is the sum of its anchors' label weights over the head's ``avg_factor``,
    its share in the head's own classification loss. What counts as the
    sample of a detector is our choice; the papers say nothing of it.

    For mmdet's ``RetinaHead``, ``SSDHead`` and other ``AnchorHead`` that
    assign anchors and sum their losses as these do.
    """

    of_objects = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.use_sigmoid = model.bbox_head.use_sigmoid_cls
        self._cls_scores: Sequence[Tensor] = ()
        self._targets: list[tuple] = []
        self._handle = None

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        head = getattr(model, 'bbox_head', None)
        if 'AnchorHead' not in class_names(head):
            return False
        methods = [getattr(type(head), name) for name in _METHODS]
        owners = {method.__qualname__.split('.')[0] for method in methods}
        # Others weigh anchors in a way of their own; SSD has no module.
        loss = getattr(head, 'loss_cls', None)
        known = {'CrossEntropyLoss', 'FocalLoss', 'NoneType'}
        return owners <= {'AnchorHead', 'SSDHead'} and bool(
            known & class_names(loss)
        )

    def start(self) -> None:
        head = self.model.bbox_head
        self._cls_scores, self._targets = (), []
        self._handle = head.register_forward_hook(self._tap_outputs)
        targets_of_image = head._get_targets_single

        def tap(*args: Any, **kwargs: Any) -> tuple:
            targets = targets_of_image(*args, **kwargs)
            self._targets.append(targets)
            return targets

        # On the instance, where it hides the method of the class.
        head._get_targets_single = tap

    def stop(self) -> None:
        self._handle.remove()
        del self.model.bbox_head._get_targets_single

    def observe(self, data_samples: Sequence) -> Observation:
        head = self.model.bbox_head
        targets, self._targets = self._targets, []
        cls_scores, self._cls_scores = self._cls_scores, ()
        if not targets:
            raise TypeError(
                f'{type(head).__name__} computes its losses without '
                '_get_targets_single: self-distillation cannot use this head'
            )
        loss = getattr(head, 'loss_cls', None)
        return observe_objects(
            _positives(cls_scores, targets, head.num_classes),
            data_samples,
            self.image_keys(data_samples),
            use_sigmoid=self.use_sigmoid,
            # SSD's loss is a plain softmax cross-entropy, with no module.
            cross_entropy=1.0 if loss is None else plain_cross_entropy(loss),
        )

    def _tap_outputs(self, head: nn.Module, args: tuple, out: tuple) -> None:
        self._cls_scores = out[0]


def _positives(
    cls_scores: Sequence[Tensor], targets: Sequence[tuple], classes: int
) -> Positives:
    """The anchors that are assigned to objects.

    Args:
        cls_scores: Logits of each level, shape (B, anchors * C, H, W).
        targets: What ``AnchorHead._get_targets_single`` gives for each of
            the ``B`` images: labels of all its anchors, their weights, …,
            the ``SamplingResult``.
        classes: Number of classes, which is the label of other anchors.
    """
    images = len(targets)
    anchors = len(targets[0][0])
    flat = [level.permute(0, 2, 3, 1).flatten(1) for level in cls_scores]
    logits = torch.cat(flat, dim=1).view(images, anchors, -1)
    average = sum(result.avg_factor for *_, result in targets)
    parts = []
    for image, (labels, label_weights, *_, result) in enumerate(targets):
        anchors = (labels < classes).nonzero()[:, 0]
        # Positions that leave out the anchors beyond the image, unsorted.
        order = result.pos_inds.argsort()
        rows = at_least_float32(logits[image, anchors])
        parts.append(
            Positives(
                logits=rows,
                labels=labels[anchors],
                # mmdet's are in float32 whatever the logits are.
                weights=label_weights[anchors].to(rows) / average,
                images=torch.full_like(anchors, image),
                objects=result.pos_assigned_gt_inds[order],
                stages=torch.zeros_like(anchors),
            )
        )
    return Positives.join(parts)
