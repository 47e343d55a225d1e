"""Predictions of two-stage detectors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation

from ..kinds import class_names
from .base import Observer, put_on
from .classifier import plain_cross_entropy
from .objects import Positives, observe_objects
from .unusable import unusable

# These sample, weigh or order proposals in a way of their own.
_OTHERS = {
    'PISARoIHead',
    'MultiInstanceRoIHead',
    'SparseRoIHead',
}


class TwoStageObserver(Observer):
    """The sample is an annotated object.

    Its prediction is the mean of the class logits of the proposals that
    were sampled as its positives in this step (``C + 1`` columns, the
    background last). An object without positives is absent. With ``m``
    positives of ``n`` sampled proposals its weight is ``m / n``, its share
    in the head's own cross-entropy; a cascade has one row for each object
    and stage, whose weight is multiplied by that of the stage. What counts
    as the sample of a detector is our choice; the papers say nothing of it.

    For mmdet's ``StandardRoIHead`` (Faster R-CNN) and ``CascadeRoIHead``
    (Cascade R-CNN) with softmax classifiers. Branches of TridentNet are
    stages.
    """

    of_objects = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._seen: list[Positives] = []
        self._removals: list[Callable[[], None]] = []

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        roi_head = getattr(model, 'roi_head', None)
        names = class_names(roi_head)
        if (
            not names & {'StandardRoIHead', 'CascadeRoIHead'}
            or names & _OTHERS
        ):
            return False
        return all(_softmax(head) for head in bbox_heads(roi_head))

    def start(self) -> None:
        self._seen, self._removals = [], []
        for stage, head in enumerate(bbox_heads(self.model.roi_head)):
            tap = partial(self._tap, head.loss_and_target, stage)
            self._removals.append(put_on(head, 'loss_and_target', tap))

    def stop(self) -> None:
        for remove in self._removals:
            remove()
        self._removals = []

    def observe(self, data_samples: Sequence) -> Observation:
        seen, self._seen = self._seen, []
        if not seen:
            raise unusable(
                self.model.roi_head,
                'computes its losses without bbox_head.loss_and_target',
            )
        heads = bbox_heads(self.model.roi_head)
        factors = {plain_cross_entropy(head.loss_cls) for head in heads}
        positives = Positives.join(seen)
        # TridentNet asks for each image in several branches.
        branches = positives.images // len(data_samples)
        positives = replace(
            positives,
            images=positives.images % len(data_samples),
            stages=positives.stages + branches * len(heads),
        )
        return observe_objects(
            positives,
            data_samples,
            self.image_keys(data_samples),
            # Stages with different losses have no common factor.
            cross_entropy=factors.pop() if len(factors) == 1 else 0.0,
        )

    def _tap(
        self,
        loss_and_target,
        stage: int,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: Sequence,
        *args: Any,
        **kwargs: Any,
    ) -> dict:
        result = loss_and_target(
            cls_score, bbox_pred, rois, sampling_results, *args, **kwargs
        )
        label_weights = result['bbox_targets'][1]
        share = label_weights / (label_weights > 0).sum().clamp(min=1)
        share = share * self._weight(stage)
        self._seen.append(
            _positives(cls_score, share, sampling_results, stage)
        )
        return result

    def _weight(self, stage: int) -> float:
        weights = getattr(self.model.roi_head, 'stage_loss_weights', None)
        return 1.0 if weights is None else weights[stage]


def bbox_heads(roi_head: nn.Module) -> list[nn.Module]:
    heads = roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def _softmax(head: nn.Module) -> bool:
    loss = getattr(head, 'loss_cls', None)
    return 'CrossEntropyLoss' in class_names(loss) and not (
        loss.use_sigmoid or head.custom_activation
    )


def _positives(
    cls_score: Tensor, share: Tensor, sampling_results: Sequence, stage: int
) -> Positives:
    """The positives among the sampled proposals.

    Args:
        cls_score: Logits of the sampled proposals, image after image, in
            each image positives first, shape (n, C + 1).
        share: Share of each proposal in the classification loss, (n,).
        sampling_results: mmdet's ``SamplingResult`` of each image.
        stage: Stage of the cascade.
    """
    rows, images = [], []
    start = 0
    for image, result in enumerate(sampling_results):
        positives = len(result.pos_inds)
        rows.append(torch.arange(start, start + positives))
        images.append(torch.full((positives,), image))
        start += positives + len(result.neg_inds)
    rows = torch.cat(rows).to(cls_score.device)
    images = torch.cat(images).to(cls_score.device)
    return Positives(
        logits=cls_score[rows],
        labels=torch.cat([r.pos_gt_labels for r in sampling_results]),
        weights=share[rows],
        images=images,
        objects=torch.cat([r.pos_assigned_gt_inds for r in sampling_results]),
        stages=torch.full_like(images, stage),
    )
