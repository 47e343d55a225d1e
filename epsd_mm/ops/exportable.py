"""Operators of detectors that ``torch.export`` keeps whole, for a file."""

import torch
from torch import Tensor

_NAMESPACE = 'epsd_mm'


@torch.library.custom_op(f'{_NAMESPACE}::select', mutates_args=())
def select(
    boxes: Tensor, scores: Tensor, iou: float, count: int
) -> Tensor:  # of a signature that torch.library can read
    """Non-maximum suppression of each image of a batch.

    Boxes of which the score is not above zero are left out.

    Args:
        boxes: As corners, of shape (N, M, 4).
        scores: Of shape (N, M).
        iou: Boxes that overlap a better one by more are left out.
        count: At most so many are selected of an image.

    Returns:
        Positions of the selected boxes by falling score, of shape
        (N, count); −1 where there are no more.
    """
    from mmcv.ops import nms

    selected = boxes.new_full((len(boxes), count), -1, dtype=torch.int64)
    for row, image_boxes, image_scores in zip(selected, boxes, scores):
        above = (image_scores > 0).nonzero()[:, 0]
        # mmcv knows this one in single precision only.
        _, kept = nms(
            image_boxes[above].float(), image_scores[above].float(), iou
        )
        kept = above[kept[:count]]
        row[: len(kept)] = kept
    return selected


@select.register_fake
def _(boxes, scores, iou, count):
    return boxes.new_empty((boxes.shape[0], count), dtype=torch.int64)


@torch.library.custom_op(f'{_NAMESPACE}::join', mutates_args=())
def join(tensors: list[Tensor], dim: int) -> Tensor:
    """``torch.cat``, of which the rule for ``vmap`` fixes no batch size."""
    return torch.cat(tensors, dim)


@join.register_fake
def _(tensors, dim):
    return torch.cat(tensors, dim)


@join.register_vmap
def _(info, in_dims, tensors, dim):
    dims = in_dims[0]
    batch = next(
        tensor.shape[d] for tensor, d in zip(tensors, dims) if d is not None
    )
    batched = [
        tensor.expand(batch, *tensor.shape)
        if d is None
        else tensor.movedim(d, 0)
        for tensor, d in zip(tensors, dims)
    ]
    return torch.cat(batched, dim + 1 if dim >= 0 else dim), 0


@torch.library.custom_op(f'{_NAMESPACE}::roi_align_levels', mutates_args=())
def roi_align_levels(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor,
    scales: list[float],
    height: int,
    width: int,
    sampling_ratio: int,
) -> Tensor:
    """RoIAlign (aligned, average) of each region from a level of its own.

    Args:
        features: Of shape (N, C, H, W), level by level.
        rois: Number of the image and corners, of shape (R, 5).
        levels: Which level a region is taken from, of shape (R,).
        scales: Of a level's cells in relation to pixels.
        height: Of what is returned, in cells.
        width: Of what is returned, in cells.
        sampling_ratio: Points along a side of a cell; 0: by its size.

    Returns:
        Of shape (R, C, height, width).
    """
    from mmcv.ops import roi_align

    shape = (len(rois), features[0].shape[1], height, width)
    aligned = features[0].new_zeros(shape)
    for level, (feature, scale) in enumerate(zip(features, scales)):
        of_level = (levels == level).nonzero()[:, 0]
        if len(of_level):
            aligned[of_level] = roi_align(
                feature,
                rois[of_level],
                (height, width),
                scale,
                sampling_ratio,
                'avg',
                True,
            )
    return aligned


@roi_align_levels.register_fake
def _(features, rois, levels, scales, height, width, sampling_ratio):
    shape = (rois.shape[0], features[0].shape[1], height, width)
    return features[0].new_empty(shape)


@torch.library.custom_op(f'{_NAMESPACE}::deform_conv', mutates_args=())
def deform_conv(
    features: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
) -> Tensor:
    """Deformable convolution of the first (no mask) or second version.

    Args:
        features: Of shape (N, C, H, W).
        offset: Down and to the right of each point of the kernel, of shape
            (N, offset_groups · 2 · points, H', W').
        mask: By which each point is multiplied, of shape
            (N, offset_groups · points, H', W').
        weight: Of shape (C', C / groups, kernel height, kernel width).
        bias: Of shape (C',); there where there is a mask, and only there.
        stride: Along height and width, as is what follows.
        padding: At both ends.
        dilation: Of the kernel.
        groups: Of channels.
        offset_groups: Of channels, each with offsets of its own.

    Returns:
        Of shape (N, C', H', W').

    Raises:
        ValueError: Offsets are of another size than the output, which mmcv
            reads on and files refuse.
    """
    from mmcv.ops import modulated_deform_conv2d

    geometry = zip(
        features.shape[2:], weight.shape[2:], stride, padding, dilation
    )
    size = [
        (side + 2 * pad - dilated * (points - 1) - 1) // step + 1
        for side, points, step, pad, dilated in geometry
    ]
    if list(offset.shape[2:]) != size:
        raise ValueError(
            f'offsets of {tuple(offset.shape[2:])} for an output of '
            f'{tuple(size)}: a deformable convolution cannot be exported '
            'whose offsets are of another size than what it returns (DyHead)'
        )
    if mask is None:
        mask = torch.ones_like(offset[:, ::2])
    return modulated_deform_conv2d(
        features.contiguous(),
        offset.contiguous(),
        mask.contiguous(),
        weight.contiguous(),
        bias,
        stride,
        padding,
        dilation,
        groups,
        offset_groups,
    )


@deform_conv.register_fake
def _(features, offset, mask, weight, bias, *args):
    shape = (features.shape[0], weight.shape[0], *offset.shape[2:])
    return features.new_empty(shape)
