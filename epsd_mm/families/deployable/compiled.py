"""mmcv's compiled operators, which an exported file has or lacks."""

from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.families.kinds import class_names
from epsd_mm.ops.exportable import deform_conv

from ..methods import global_names, with_globals
from .refusal import not_exportable

#: Of mmcv's layers, those that have a form in a file.
_KNOWN = {'RoIAlign', 'DeformConv2d', 'ModulatedDeformConv2d'}
#: Methods that may call a deformable convolution.
_CALLERS = ('forward', 'deform_sampling')


def refuse_operators(model: nn.Module) -> None:
    """Name a compiled layer before it stops torch in mid-export.

    Raises:
        ValueError: An exported file has no form of it.
    """
    for name, layer in model.named_modules():
        if _is_compiled(layer) and not _KNOWN & class_names(layer):
            raise not_exportable(
                type(model).__name__,
                f'{name} is a {type(layer).__name__}, an operator of mmcv '
                'that an exported file has no form of',
            )


def _is_compiled(layer: nn.Module) -> bool:
    kinds = type(layer).__mro__
    return any(kind.__module__.startswith('mmcv.ops') for kind in kinds)


def make_exportable(model: nn.Module) -> None:
    """Let deformable convolutions be those that a file has, for good."""
    names = dict(
        deform_conv2d=_deform_conv2d,
        modulated_deform_conv2d=_modulated_deform_conv2d,
    )
    for layer in model.modules():
        for method in _CALLERS:
            if not names.keys().isdisjoint(global_names(layer, method)):
                with_globals(layer, method, **names)


def _deform_conv2d(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
    *unused: Any,
) -> Tensor:
    return _modulated_deform_conv2d(
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


def _modulated_deform_conv2d(
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
    pair = torch.nn.modules.utils._pair
    if mask is not None and bias is None:
        bias = weight.new_zeros(len(weight))
    return deform_conv(
        features,
        offset,
        mask,
        weight,
        bias,
        pair(stride),
        pair(padding),
        pair(dilation),
        groups,
        deform_groups,
    )
