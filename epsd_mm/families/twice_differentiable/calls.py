"""Functions of mm that methods call, by others that are exact.

Their backward passes are differentiable once, or detach what they have saved.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import unwrap
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..methods import global_names, with_globals
from .deformable_convolution import deform_conv2d, modulated_deform_conv2d


class DeformableAttention:
    """Stands where mmcv's attention calls its kernel, on a GPU."""

    @staticmethod
    def apply(
        value: Tensor,
        shapes: Tensor,
        level_start: Tensor,
        locations: Tensor,
        weights: Tensor,
        step: int,
    ) -> Tensor:
        """By mmcv's own form for the CPU, which is made of torch's."""
        from mmcv.ops import multi_scale_deform_attn

        return multi_scale_deform_attn.multi_scale_deformable_attn_pytorch(
            value, shapes, locations, weights
        )


def sigmoid_geometric_mean(x: Tensor, y: Tensor) -> Tensor:
    """``sqrt(sigmoid(x) sigmoid(y))`` of TOOD; never 0 / 0."""
    return torch.exp((F.logsigmoid(x) + F.logsigmoid(y)) / 2)


#: By the module that has the function.
_EXACT = {
    'mmcv.ops.deform_conv': dict(deform_conv2d=deform_conv2d),
    'mmcv.ops.modulated_deform_conv': dict(
        modulated_deform_conv2d=modulated_deform_conv2d
    ),
    'mmcv.ops.multi_scale_deform_attn': dict(
        MultiScaleDeformableAttnFunction=DeformableAttention
    ),
    'mmdet.models.utils.misc': dict(
        sigmoid_geometric_mean=sigmoid_geometric_mean
    ),
}


def replace_calls(model: nn.Module) -> int:
    """Let the methods of a model's parts call what is exact.

    Meant for the copy of a model that is scored. Classes, and the modules
    that they are defined in, stay as they are; so does what calls a function
    of one's own that has the same name.

    Returns:
        How many methods there were.
    """
    known = [
        (name, getattr(sys.modules[module], name), exact)
        for module, functions in _EXACT.items()
        if module in sys.modules
        for name, exact in functions.items()
    ]
    found = 0
    for part in model.modules():
        for method, names in _methods(type(part)):
            seen = global_names(part, method)
            replaced = {
                name: exact
                for name, stock, exact in known
                if name in names and seen.get(name) is stock
            }
            if replaced:
                with_globals(part, method, **replaced)
                found += 1
    return found


@cache
def _methods(kind: type) -> tuple[tuple[str, frozenset[str]], ...]:
    """Methods of a class, and the names that they look up."""
    found: dict[str, frozenset[str]] = {}
    for base in kind.__mro__:
        if base is nn.Module:
            break
        for name, function in _functions(vars(base)):
            found.setdefault(name, frozenset(function.__code__.co_names))
    return tuple(found.items())


def _functions(content: Mapping[str, Any]) -> Iterator:
    for name, value in content.items():
        if isinstance(value, FunctionType):
            yield name, unwrap(value)
