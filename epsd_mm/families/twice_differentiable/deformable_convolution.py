"""Deformable convolutions by operators of torch.

mmcv's are differentiable once. Bilinear samples at the points of a kernel,
and a product with its weights, are all that they are: ``grid_sample`` is
differentiated twice by torch 2.13, and scoring names it where an older torch
does not.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair


def deform_conv2d(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,
) -> Tensor:
    """The first version, Dai et al., ICCV 2017; see the second one."""
    return modulated_deform_conv2d(
        features,
        offset,
        None,
        weight,
        None,
        stride,
        padding,
        dilation,
        groups,
        deform_groups,
    )


def modulated_deform_conv2d(
    features: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """The second version, Zhu et al., CVPR 2019.

    ``y(p) = Σ_k w_k m_k(p) x(p + p_k + Δp_k(p))``, zero outside.

    Args:
        features: ``x``, of shape (N, C, H, W).
        offset: ``Δp``, down and to the right of each point of the kernel,
            of shape (N, deform_groups · 2 · points, H', W').
        mask: ``m``, of shape (N, deform_groups · points, H', W'); all ones
            in the first version.
        weight: ``w``, of shape (C', C / groups, kernel height, width).
        bias: Of shape (C',).
        stride: Along height and width, as is what follows.
        padding: At both ends.
        dilation: Of the kernel.
        groups: Of channels.
        deform_groups: Of channels, each with offsets of its own.

    Returns:
        Of shape (N, C', H', W').
    """
    images, channels, height, width = features.shape
    size = offset.shape[2:]
    kernel = weight.shape[2:]
    of_groups = images * deform_groups
    moved = offset.reshape(of_groups, -1, 2, *size)
    down, right = (
        _grid(size[axis], kernel[axis], axis, stride, padding, dilation)
        for axis in (0, 1)
    )
    down = down[:, None, :, None].expand(-1, kernel[1], -1, 1)
    right = right[None, :, None, :].expand(kernel[0], -1, 1, -1)
    rows = moved[:, :, 0] + down.flatten(0, 1).to(moved)
    columns = moved[:, :, 1] + right.flatten(0, 1).to(moved)
    places = torch.stack(
        [(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1
    )
    sampled = F.grid_sample(
        features.reshape(of_groups, -1, height, width),
        places.flatten(1, 2),
        align_corners=False,
    )
    points = kernel.numel()
    sampled = sampled.reshape(images, deform_groups, -1, points, *size)
    if mask is not None:
        sampled = sampled * mask.reshape(
            images, deform_groups, 1, points, *size
        )
    sampled = sampled.reshape(
        images, groups, channels // groups * points, size.numel()
    )
    output = weight.reshape(groups, -1, sampled.shape[2]) @ sampled
    output = output.reshape(images, len(weight), *size)
    return output if bias is None else output + bias[:, None, None]


def _grid(
    size: int, kernel: int, axis: int, stride: Any, padding: Any, dilation: Any
) -> Tensor:
    """Where each point of a kernel lies by itself: (kernel, size)."""
    starts = torch.arange(size) * _pair(stride)[axis] - _pair(padding)[axis]
    return starts + torch.arange(kernel)[:, None] * _pair(dilation)[axis]
