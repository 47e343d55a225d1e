"""Candidates of detectors that look at proposals again."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.ops.exportable import roi_align_levels

from ..methods import with_globals
from .candidates import Candidates, suppress
from .dense_heads import DenseHead
from .per_image import for_each_image
from .refusal import not_exportable

# Their boxes are found as one of the first two finds them.
_SUPPORTED = (
    'StandardRoIHead',
    'CascadeRoIHead',
    'DynamicRoIHead',
    'DoubleHeadRoIHead',
    'PISARoIHead',
)


class TwoStages:
    """Proposals, and what the last box head says of them.

    Args:
        model: A copy of a two-stage detector, which it changes for good.

    Raises:
        ValueError: Its heads or extractors are not of a known kind.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        roi_head = model.roi_head
        self._stages = getattr(roi_head, 'num_stages', None)
        _check(roi_head)
        self._rpn_cfg = model.test_cfg.rpn
        self._proposals = DenseHead(model.rpn_head)
        extractors = roi_head.bbox_roi_extractor
        for extractor in extractors if self._stages else [extractors]:
            _prepare_extractor(extractor)
        heads = roi_head.bbox_head if self._stages else [roi_head.bbox_head]
        self._last = heads[-1]
        self._heads = heads
        with_globals(
            self._last, '_predict_by_feat_single', multiclass_nms=_classes
        )

    def __call__(
        self,
        features: Any,
        sizes: Tensor,
        canvas: tuple[int, int],
        test_cfg: Any,
    ) -> Candidates:
        """Candidates of all images, see :class:`DenseHead`."""
        proposals, there = self._propose(features, sizes, canvas)
        images, count, _ = proposals.shape
        number = torch.arange(images, device=proposals.device)
        number = number[:, None, None].expand(-1, count, 1).to(proposals)
        roi_head = self._model.roi_head
        logits = []
        for stage, head in enumerate(self._heads):
            rois = torch.cat([number, proposals], dim=2).flatten(0, 1)
            if self._stages:
                seen = roi_head._bbox_forward(stage, features, rois)
            else:
                seen = roi_head._bbox_forward(features, rois)
            classes = seen['cls_score'].unflatten(0, (images, count))
            offsets = seen['bbox_pred'].unflatten(0, (images, count))
            logits.append(classes)
            if head is not self._last:
                proposals = for_each_image(
                    _refined(head), proposals, classes, offsets, sizes
                )
        rois = torch.cat([number, proposals], dim=2)
        found = for_each_image(
            partial(self._final, test_cfg),
            rois,
            sum(logits) / len(logits),
            offsets,
            sizes,
        )
        boxes, scores, labels = found
        classes = scores.shape[1] // count
        taken = there.repeat_interleave(classes, dim=1)
        return Candidates(boxes, torch.where(taken, scores, -1.0), labels)

    def _propose(
        self, features: Any, sizes: Tensor, canvas: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        cfg = self._rpn_cfg
        candidates = self._proposals(features, sizes, canvas, cfg)
        selected = suppress(candidates, cfg.nms, cfg.max_per_img)
        return selected.boxes, selected.labels >= 0

    def _final(
        self,
        test_cfg: Any,
        rois: Tensor,
        logits: Tensor,
        offsets: Tensor,
        size: Tensor,
    ) -> tuple:
        found = self._last._predict_by_feat_single(
            roi=rois,
            cls_score=logits,
            bbox_pred=offsets,
            img_meta=dict(img_shape=(size[0], size[1])),
            rescale=False,
            rcnn_test_cfg=test_cfg,
        )
        return found.bboxes, found.scores, found.labels


def _refined(head: nn.Module) -> Any:
    def refine(
        boxes: Tensor, logits: Tensor, offsets: Tensor, size: Tensor
    ) -> Tensor:
        if head.custom_activation:
            logits = head.loss_cls.get_activation(logits)
        labels = logits[:, :-1].argmax(dim=1)
        meta = dict(img_shape=(size[0], size[1]))
        return head.regress_by_class(boxes, labels, offsets, meta)

    return refine


def _classes(
    boxes: Tensor, scores: Tensor, score_thr: float, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """In place of mmdet's ``multiclass_nms``: a candidate for each class."""
    scores = scores[:, :-1]  # the last one is no object
    regions, classes = scores.shape
    boxes = boxes.reshape(regions, -1, 4).expand(-1, classes, -1)
    labels = torch.arange(classes, device=scores.device)
    labels = labels.expand(regions, -1).flatten()
    scores = torch.where(scores > score_thr, scores, -1.0)
    found = torch.cat([boxes.flatten(0, 1), scores.reshape(-1, 1)], dim=1)
    return found, labels


def _prepare_extractor(extractor: nn.Module) -> None:
    """Let regions of several levels be aligned by one operator."""
    layers = extractor.roi_layers
    if type(extractor).__name__ != 'SingleRoIExtractor' or any(
        type(layer).__name__ != 'RoIAlign'
        or not layer.aligned
        or layer.pool_mode != 'avg'
        for layer in layers
    ):
        raise not_exportable(
            f'{type(extractor).__name__} with {type(layers[0]).__name__}',
            'only SingleRoIExtractor with an aligned, averaging RoIAlign can',
        )

    def forward(features: Any, rois: Tensor, roi_scale_factor: Any = None):
        levels = extractor.map_roi_levels(rois, len(features))
        if roi_scale_factor is not None:
            rois = extractor.roi_rescale(rois, roi_scale_factor)
        return roi_align_levels(
            list(features),
            rois,
            levels,
            [float(layer.spatial_scale) for layer in layers],
            *layers[0].output_size,
            int(layers[0].sampling_ratio),
        )

    extractor.__dict__['forward'] = forward


def _check(roi_head: nn.Module) -> None:
    name = type(roi_head).__name__
    if name not in _SUPPORTED:
        raise not_exportable(name, f'of RoI heads {", ".join(_SUPPORTED)} can')
