"""Operators of torch that have no second derivative, by others that have."""

from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .attention import plain_attention
from .hard_sigmoid import HardSigmoid
from .operators import checkpointing


@contextmanager
def plain_operators():
    """A context, or decorator, in which more can be differentiated twice.

    Attention, see :func:`plain_attention`, the hard sigmoid, and vectors of
    length one. A loss must be recorded and replayed inside alike: values and
    derivatives of torch's own agree to rounding only.
    """
    with plain_attention(), _PlainFunctions():
        yield


class _PlainFunctions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        # What is checkpointed runs again outside of this context.
        if not checkpointing():
            function = _PLAIN.get(function, function)
        return function(*args, **(kwargs or {}))


def _hard_sigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    output = HardSigmoid.apply(input)
    return input.copy_(output) if inplace else output


def _normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """``x / max(|x|, eps)``, linear in the vectors that are next to zero.

    The second derivative of a norm is not a number at zero, where dead
    units and padding are, though here it plays no part.
    """
    if p != 2 or out is not None or not input.is_floating_point():
        return F.normalize(input, p, dim, eps, out)
    square = input.square().sum(dim, keepdim=True)
    return input / square.clamp_min(eps**2).sqrt()


_PLAIN = {F.hardsigmoid: _hard_sigmoid, F.normalize: _normalize}
