"""Predictions of CenterNet."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epsd_mm.distillation.observation import Observation, at_least_float32

from ..kinds import class_names
from .base import Observer
from .objects import Positives, observe_objects
from .unusable import unusable


class CenterNetObserver(Observer):
    """The sample is an annotated object.

    Its prediction are the logits of its heat maps in the cell of its centre
    (Zhou et al., *Objects as Points*, 2019), its weight is 1 over the number
    of such cells in the batch. For mmdet's ``CenterNetHead``. What counts as
    the sample of a detector is our choice; the papers say nothing of it.
    """

    of_objects = True
    use_sigmoid = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._logits: Tensor | None = None
        self._centers = 1.0
        self._handles: list = []

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        head = getattr(model, 'bbox_head', None)
        if 'CenterNetHead' not in class_names(head):
            return False
        methods = (type(head).get_targets, type(head).loss_by_feat)
        owners = {method.__qualname__.split('.')[0] for method in methods}
        loss = class_names(head.loss_center_heatmap)
        return owners == {'CenterNetHead'} and 'GaussianFocalLoss' in loss

    def start(self) -> None:
        head = self.model.bbox_head
        self._logits = None
        self._handles = [
            head.heatmap_head.register_forward_hook(self._tap_maps),
            head.loss_center_heatmap.register_forward_pre_hook(
                self._tap_loss, with_kwargs=True
            ),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def observe(self, data_samples: Sequence) -> Observation:
        logits, self._logits = self._logits, None
        if logits is None:
            raise unusable(
                self.model.bbox_head,
                'computes its losses without heatmap_head',
            )
        parts = [
            self._of_image(image, logits[image], sample)
            for image, sample in enumerate(data_samples)
        ]
        return observe_objects(
            Positives.join(parts),
            data_samples,
            self.image_keys(data_samples),
            use_sigmoid=True,
        )

    def _of_image(self, image: int, maps: Tensor, sample: object) -> Positives:
        """One prediction for each object; maps have shape (C, H, W)."""
        truth = sample.gt_instances
        height, width = sample.batch_input_shape
        boxes = truth.bboxes
        ratios = maps.shape[2] / width, maps.shape[1] / height
        x, y = (
            ((boxes[:, side] + boxes[:, side + 2]) * ratio / 2).int()
            for side, ratio in enumerate(ratios)
        )
        rows = at_least_float32(maps[:, y, x].t())
        places = torch.arange(len(truth), device=rows.device)
        return Positives(
            logits=rows,
            labels=truth.labels,
            weights=rows.new_full((len(rows),), 1 / self._centers),
            images=torch.full_like(places, image),
            objects=places,
            stages=torch.zeros_like(places),
        )

    def _tap_maps(self, module: nn.Module, args: tuple, maps: Tensor) -> None:
        self._logits = maps

    def _tap_loss(self, loss: nn.Module, args: tuple, kwargs: dict) -> None:
        self._centers = float(kwargs['avg_factor'])
