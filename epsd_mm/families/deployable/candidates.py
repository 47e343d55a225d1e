"""Boxes before and after non-maximum suppression, for a batch."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from epsd_mm.ops.exportable import select

#: How many boxes a file gives where the config sets no limit.
UNLIMITED = 300


class Candidates(NamedTuple):
    """What is suppressed; −1 is the score of what does not take part.

    Attributes:
        boxes: Corners in pixels, of shape (N, M, 4).
        scores: Of shape (N, M).
        labels: Classes, among which alone boxes suppress each other, of
            shape (N, M).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Selected(NamedTuple):
    """The outputs of a detector, K of each image by falling score.

    Attributes:
        boxes: Corners in pixels, of shape (N, K, 4).
        scores: Of shape (N, K); 0 where there are fewer.
        labels: Of shape (N, K); −1 where there are fewer.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def suppress(candidates: Candidates, settings: Any, count: int) -> Selected:
    """Class-wise suppression as mmcv's ``batched_nms`` does it.

    Args:
        candidates: Of all images.
        settings: The ``nms`` of a test_cfg.
        count: At most so many are left of an image.

    Raises:
        ValueError: ``settings`` ask for a kind that ONNX lacks.
    """
    boxes, scores, labels = candidates
    apart = boxes
    if not settings.get('class_agnostic', False):
        # Boxes of a class of their own overlap none of another class.
        reach = boxes.amax(dim=(1, 2), keepdim=True) + 1
        apart = boxes + labels[..., None].to(boxes) * reach
    selected = select(apart, scores, iou_threshold(settings), count)
    there = selected >= 0
    at = selected.clamp(min=0)
    # Rows of all images at once: OpenVINO's gather takes no narrower index.
    images, each, _ = boxes.shape
    row = at + each * torch.arange(images, device=at.device)[:, None]
    corners = boxes.flatten(0, 1).index_select(0, row.flatten())
    return Selected(
        torch.where(there[..., None], corners.unflatten(0, at.shape), 0.0),
        torch.where(there, scores.gather(1, at), 0.0),
        torch.where(there, labels.gather(1, at), -1),
    )


def iou_threshold(settings: Any) -> float:
    """Of plain suppression.

    Raises:
        ValueError: Another kind is asked for.
    """
    kind = settings.get('type', 'nms')
    if kind != 'nms':
        raise ValueError(
            f'test_cfg has nms of type {kind!r}, and ONNX has the plain one '
            "only: set type='nms' with its iou_threshold and test with that"
        )
    return float(settings.get('iou_threshold', settings.get('iou_thr')))


def drop_small(boxes: Tensor, scores: Tensor, test_cfg: Any) -> Tensor:
    """The scores, −1 where a side is not above ``min_bbox_size``."""
    least = test_cfg.get('min_bbox_size', -1)
    if least is None or least < 0:
        return scores
    sides = boxes[..., 2:] - boxes[..., :2]
    large = (sides > least).all(dim=-1)
    return torch.where(large, scores, -1.0)
