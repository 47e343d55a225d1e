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

    Attention, see :func:`plain_attention`, and the hard sigmoid. A loss must
    be recorded and replayed inside alike: the derivatives of torch's own
    agree to rounding only.
    """
    with plain_attention(), _HardSigmoids():
        yield


class _HardSigmoids(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        # What is checkpointed runs again outside of this context.
        if function is F.hardsigmoid and not checkpointing():
            return _hard_sigmoid(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _hard_sigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    output = HardSigmoid.apply(input)
    return input.copy_(output) if inplace else output
