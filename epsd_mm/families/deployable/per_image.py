"""mm's code for one image, run for a batch in one traceable piece."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from epsd_mm.ops.exportable import join


def for_each_image(function: Callable, *batched: Any) -> Any:
    """What a function returns for each image, stacked.

    Args:
        function: Takes what is batched, without its first dimension, and
            returns tensors. Sizes must not depend on values.
        batched: Tensors, or lists and tuples of them.
    """

    def traceable(*image: Any) -> Any:
        with _Traceable():
            return function(*image)

    return torch.vmap(traceable)(*batched)


class _Traceable(TorchFunctionMode):
    """Replaces operators that fix a batch size or are not batched at all."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.cat, torch.concat):
            tensors, dim = (*args, kwargs.get('dim', 0))[:2]
            return join(list(tensors), dim)
        if func in (Tensor.clamp, Tensor.clamp_, torch.clamp):
            value, low, high = _limits(args, kwargs)
            if isinstance(low, Tensor) != isinstance(high, Tensor):
                limited = _clamp(value, low, high)
                in_place = func is Tensor.clamp_
                return value.copy_(limited) if in_place else limited
        if func is Tensor.new_tensor and isinstance(args[1], (list, tuple)):
            if any(isinstance(each, Tensor) for each in args[1]):
                return torch.stack([torch.as_tensor(e) for e in args[1]])
        if func is linear and args[1].dim() == 1:
            # The exporter loses the name of a vector that is transposed.
            return args[0] @ args[1]
        return func(*args, **kwargs)


def _limits(args: tuple, kwargs: Mapping) -> tuple:
    values = dict(zip(('input', 'min', 'max'), args)) | dict(kwargs)
    return tuple(values.get(name) for name in ('input', 'min', 'max'))


def _clamp(value: Tensor, low: Any, high: Any) -> Tensor:
    """Between a number and a tensor, which torch takes only alike."""
    if low is not None:
        several = isinstance(low, Tensor)
        value = torch.maximum(value, low) if several else value.clamp(min=low)
    if high is not None:
        several = isinstance(high, Tensor)
        value = (
            torch.minimum(value, high) if several else value.clamp(max=high)
        )
    return value
