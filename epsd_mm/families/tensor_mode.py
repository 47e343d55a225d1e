"""Any mm model, called as ``mode='tensor'`` calls it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from epsd_mm.structure import Width


def trace(model: nn.Module, image: Tensor) -> Any:
    """What the network returns for one image, before any decoding.

    Args:
        model: Of mmdet, mmpretrain or a relative.
        image: Preprocessed, of shape (1, 3, H, W).
    """
    return model(image, samples(model, image), mode='tensor')


def attributes(model: nn.Module, image: Tensor) -> Mapping[str, Width]:
    """Widths that modules hold as numbers: none."""
    return {}


def samples(model: nn.Module, image: Tensor) -> list | None:
    """Of a detector, what it is told of an image; None for other models."""
    if not any(c.__module__.startswith('mmdet.') for c in type(model).__mro__):
        return None
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    shape = tuple(image.shape[-2:])
    boxes = image.new_tensor([[0, 0, *(size // 2 for size in shape[::-1])]])
    # One-stage segmentation assigns it before its masks can be predicted.
    truth = InstanceData(
        bboxes=boxes,
        labels=boxes.new_zeros(1, dtype=torch.int64),
        masks=BitmapMasks([np.ones(shape, np.uint8)], *shape),
    )
    sample = DetDataSample(gt_instances=truth)
    sample.set_metainfo(
        dict(
            img_shape=shape,
            ori_shape=shape,
            pad_shape=shape,
            batch_input_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )
    return [sample]
