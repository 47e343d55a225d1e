"""A copy of a model that is free of it."""

import copy
import random
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from epsd_mm.pruning.layers import calculated_weights

from .object_graph import Parts, bound_parts, parts, walk

# The process's own, which each draw seeds. Samplers hold them.
PROCESS_GENERATORS = (
    random._inst,
    np.random.mtrand._rand,
    torch.default_generator,
)

# Where functions are made that only wrap the one they are given.
_WRAPPERS = (
    'mmengine.runner.activation_checkpointing',
    'torch._dynamo.eval_frame',
    'torch._dynamo.external_utils',
)


def independent_copy(model: nn.Module) -> nn.Module:
    """A deep copy that calls nothing of the original.

    Python copies a bound method with its object, and shares any other
    function with what it closes over: a ``forward`` that wraps the layer's
    own would run the original's layer with the original's weights. Those of
    mmengine's ``activation_checkpointing`` and of ``torch.compile`` are
    taken off; both refuse second derivatives anyhow.

    Args:
        model: Stays as it is.

    Raises:
        TypeError: Another function on the copy holds a part of the
            original; or the model cannot be copied.
    """
    memo = {id(generator): generator for generator in PROCESS_GENERATORS}
    for module in model.modules():
        # A hook of theirs calculates them anew before each use.
        for weight in calculated_weights(module):
            memo[id(weight)] = weight.detach().clone()
    try:
        twin = copy.deepcopy(model, memo)
    except (TypeError, RuntimeError) as e:
        raise TypeError(
            f'{type(model).__name__} is scored on a copy and cannot be '
            f'copied ({e}): keep files, locks, and tensors that have a '
            'gradient function off the attributes of its modules'
        ) from e
    for module in twin.modules():
        for name, value in vars(module).items():
            if isinstance(value, FunctionType):
                vars(module)[name] = _on_copy(_unwrapped(value), memo)
    _check_free(twin, model)
    return twin


def _unwrapped(function: Callable) -> Callable:
    while (
        isinstance(function, FunctionType)
        and function.__globals__.get('__name__') in _WRAPPERS
        and hasattr(function, '__wrapped__')
    ):
        function = function.__wrapped__
    return function


def _on_copy(function: Callable, memo: dict[int, Any]) -> Callable:
    """A bound method of an original object as one of its copy."""
    owner = getattr(function, '__self__', None)
    if isinstance(function, MethodType) and id(owner) in memo:
        return MethodType(function.__func__, memo[id(owner)])
    return function


def _check_free(twin: nn.Module, model: nn.Module) -> None:
    named = [*model.named_modules(), *model.named_parameters()]
    originals = {id(part): name for name, part in named}
    originals |= {id(b): name for name, b in model.named_buffers()}
    for path, part in walk(twin, _all_parts):
        if id(part) in originals:
            raise TypeError(
                f'model{_short(path)}: this is {originals[id(part)]!r} of '
                f'the {type(model).__name__} itself, not of the copy that is '
                'scored, because a function is copied without what it refers '
                'to. Define it in a class, or bind it to its module with '
                'types.MethodType(function, module): bound methods are '
                'copied with their module'
            )


def _all_parts(obj: Any) -> Parts:
    return bound_parts(obj) if isinstance(obj, FunctionType) else parts(obj)


def _short(path: str) -> str:
    """As one writes it: ``._modules['neck']`` is ``.neck``."""
    for kind in ('_modules', '_parameters', '_buffers'):
        path = path.replace(f".{kind}['", '.')
    return path.replace("']", '')
