"""Puts the operators of this package in the place of torch's."""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .batch_norm import BatchNorm
from .conv import Convolution


class LeanOperators(TorchFunctionMode):
    """A context in which a loss is made ready for a Hessian product.

    Convolutions and batch normalisation inside it compute what torch's do,
    bit for bit, and are differentiated twice by the kernels of their first
    derivatives. Torch's own second derivatives of them take convolutions
    with kernels as large as the image, and a chain of elementwise steps.
    What these operators do not cover is left to torch, and so is what runs
    under activation checkpointing: it runs again outside of this context.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip_weight_gradients = False

    @contextmanager
    def without_weight_gradients(self):
        """Leave the values of convolution weights' gradients out.

        Inside this context those of weights that are leaves of the graph
        come out as zeros whose own derivative is right. A Hessian product
        needs no more of them, and a ninth of its work is saved.
        """
        self.skip_weight_gradients = True
        try:
            yield
        finally:
            self.skip_weight_gradients = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        replacement = None
        if function is torch.conv2d:
            replacement = self._conv2d(*args, **kwargs)
        elif function is F.batch_norm:
            replacement = self._batch_norm(*args, **kwargs)
        if replacement is not None:
            return replacement
        return function(*args, **kwargs)

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
    ) -> Tensor | None:
        if isinstance(padding, str) or not _covered(input, 4):
            return None
        geometry = (
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            False,
            [0, 0],
            groups,
        )
        return Convolution.apply(input, weight, bias, geometry, self)

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        values = input.numel() // max(1, input.size(1))
        if not _covered(input) or training and values < 2:
            return None
        channels = input.size(1)
        if weight is None:
            weight = input.new_ones(channels)
        if bias is None:
            bias = input.new_zeros(channels)
        return BatchNorm.apply(
            input,
            weight,
            bias,
            running_mean,
            running_var,
            training,
            momentum,
            eps,
        )


def _covered(input: Tensor, dimensions: int | None = None) -> bool:
    return (
        input.dtype in (torch.float32, torch.float64)
        and dimensions in (None, input.dim())
        and input.numel() > 0
        and not _autocasts(input.device.type)
        and not checkpointing()
    )


def checkpointing() -> bool:
    """Whether something else keeps what operators save for the backward."""
    top = getattr(torch._C._autograd, '_top_saved_tensors_default_hooks', None)
    return top is not None and top(False) is not None


def _autocasts(device: str) -> bool:
    try:
        return torch.is_autocast_enabled(device)
    except TypeError:  # before torch 2.4
        if device == 'cpu':
            return torch.is_autocast_cpu_enabled()
        return torch.is_autocast_enabled()


def _pair(value: int | Sequence[int]) -> list[int]:
    pair = [value] if isinstance(value, int) else list(value)
    return pair * 2 if len(pair) == 1 else pair
