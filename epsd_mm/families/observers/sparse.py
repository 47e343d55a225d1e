"""Predictions of Sparse R-CNN and QueryInst."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer, put_on
from .classifier import plain_cross_entropy
from .objects import Positives, observe_objects
from .two_stage import bbox_heads
from .unusable import unusable


class SparseObserver(Observer):
    """The sample is an annotated object, one row for each stage.

    A stage's prediction of it are the class logits of the learned proposal
    that is matched to it; an object of an image that has more of them than
    there are proposals may be left without. Its weight is the proposal's
    share in the stage's own classification loss, times the weight of the
    stage. What counts as the sample of a detector is our choice; the papers
    say nothing of it.

    For mmdet's ``SparseRoIHead``: Sparse R-CNN and, with masks, QueryInst.
    """

    of_objects = True
    losses = frozenset({'CrossEntropyLoss', 'FocalLoss'})

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        loss = bbox_heads(model.roi_head)[0].loss_cls
        self.use_sigmoid = loss.use_sigmoid
        self._divisors: dict[int, float] = {}
        self._seen: list[Positives] = []
        self._removals: list[Callable[[], Any]] = []

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        roi_head = getattr(model, 'roi_head', None)
        if 'SparseRoIHead' not in class_names(roi_head):
            return False
        heads = bbox_heads(roi_head)
        owners = {type(h).loss_and_target.__qualname__ for h in heads}
        return owners == {'DIIHead.loss_and_target'} and all(
            cls.losses & class_names(head.loss_cls) for head in heads
        )

    def start(self) -> None:
        self._divisors, self._seen, self._removals = {}, [], []
        for stage, head in enumerate(bbox_heads(self.model.roi_head)):
            hook = head.loss_cls.register_forward_pre_hook(
                partial(self._tap_loss, stage), with_kwargs=True
            )
            tap = partial(self._tap, head.loss_and_target, stage)
            self._removals += [
                hook.remove,
                put_on(head, 'loss_and_target', tap),
            ]

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
        return observe_objects(
            Positives.join(seen),
            data_samples,
            self.image_keys(data_samples),
            use_sigmoid=self.use_sigmoid,
            # Stages with different losses have no common factor.
            cross_entropy=factors.pop() if len(factors) == 1 else 0.0,
        )

    def _tap_loss(
        self, stage: int, loss: nn.Module, args: tuple, kwargs: dict
    ) -> None:
        self._divisors[stage] = float(kwargs['avg_factor'])

    def _tap(
        self,
        loss_and_target: Callable,
        stage: int,
        cls_score: Tensor,
        bbox_pred: Tensor,
        sampling_results: Sequence,
        *args: Any,
        **kwargs: Any,
    ) -> dict:
        result = loss_and_target(
            cls_score, bbox_pred, sampling_results, *args, **kwargs
        )
        weights = result['bbox_targets'][1] / self._divisors[stage]
        weights = weights * self.model.roi_head.stage_loss_weights[stage]
        start = 0
        for image, sampled in enumerate(sampling_results):
            rows = start + sampled.pos_inds
            logits = at_least_float32(cls_score[rows])
            self._seen.append(
                Positives(
                    logits=logits,
                    labels=sampled.pos_gt_labels,
                    weights=weights[rows].to(logits),
                    images=torch.full_like(rows, image),
                    objects=sampled.pos_assigned_gt_inds,
                    stages=torch.full_like(rows, stage),
                )
            )
            start += len(sampled.pos_inds) + len(sampled.neg_inds)
        return result
