"""What :mod:`epsd_mm.ops.exportable` is in ONNX, from operator set 19 on."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

# Registers what is translated.
import epsd_mm.ops.exportable  # noqa: F401

OPSET = 19
_INT64 = 7  # onnx.TensorProto


def translations() -> dict[Any, Callable]:
    """For ``custom_translation_table`` of ``torch.onnx.export``."""
    from onnxscript import opset19 as op

    def one(value: int) -> Any:
        return op.Constant(value_int=value)

    def column(value: int) -> Any:
        return op.Constant(value_ints=[value])

    def select(boxes: Any, scores: Any, iou: float, count: int) -> Any:
        found = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, column(1)),  # all of one class
            column(count),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[0.0]),
        )
        # Rows of image, class and box: image by image, by falling score.
        image = op.Gather(found, one(0), axis=1)
        box = op.Gather(found, one(2), axis=1)
        images = op.Shape(scores, start=0, end=1)
        each = op.Range(one(0), op.Squeeze(images), one(1))
        belongs = op.Cast(
            op.Equal(
                op.Unsqueeze(image, column(0)), op.Unsqueeze(each, column(1))
            ),
            to=_INT64,
        )
        counts = op.ReduceSum(belongs, column(1), keepdims=0)
        starts = op.CumSum(counts, one(0), exclusive=1)
        row = op.Range(one(0), op.Squeeze(op.Shape(image)), one(1))
        rank = op.Sub(row, op.Gather(starts, image))
        shape = op.Concat(images, column(count), axis=0)
        at = op.Concat(
            op.Unsqueeze(image, column(1)),
            op.Unsqueeze(rank, column(1)),
            axis=1,
        )
        return op.ScatterND(op.Expand(one(-1), shape), at, box)

    def join(tensors: Sequence[Any], dim: int) -> Any:
        return op.Concat(*tensors, axis=dim)

    def roi_align_levels(
        features: Sequence[Any],
        rois: Any,
        levels: Any,
        scales: Sequence[float],
        height: int,
        width: int,
        sampling_ratio: int,
    ) -> Any:
        image = op.Cast(op.Gather(rois, one(0), axis=1), to=_INT64)
        corners = op.Slice(rois, column(1), column(5), column(1))
        shape = op.Concat(
            op.Shape(rois, start=0, end=1),
            op.Shape(features[0], start=1, end=2),
            op.Constant(value_ints=[height, width]),
            axis=0,
        )
        aligned = op.Expand(op.Constant(value_float=0.0), shape)
        for level, (feature, scale) in enumerate(zip(features, scales)):
            at = op.Transpose(op.NonZero(op.Equal(levels, one(level))))
            row = op.Squeeze(at, column(1))
            found = op.RoiAlign(
                feature,
                op.Gather(corners, row),
                op.Gather(image, row),
                coordinate_transformation_mode='half_pixel',
                mode='avg',
                output_height=height,
                output_width=width,
                sampling_ratio=sampling_ratio,
                spatial_scale=scale,
            )
            aligned = op.ScatterND(aligned, at, found)
        return aligned

    def deform_conv(
        features: Any,
        offset: Any,
        mask: Any,
        weight: Any,
        bias: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        offset_groups: int,
    ) -> Any:
        inputs = [features, weight, offset]
        if mask is not None:  # which has its place behind that of a bias
            inputs += [bias, mask]
        return op.DeformConv(
            *inputs,
            strides=stride,
            pads=[*padding, *padding],
            dilations=dilation,
            group=groups,
            offset_group=offset_groups,
        )

    own = torch.ops.epsd_mm
    return {
        own.select.default: select,
        own.join.default: join,
        own.roi_align_levels.default: roi_align_levels,
        own.deform_conv.default: deform_conv,
    }
