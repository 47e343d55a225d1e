"""A copy of a model that is free of it."""

import copy
import random
from logging import Logger
from pickle import PicklingError

import numpy as np
import torch
from torch import nn

from epsd_mm.pruning.layers import calculated_weights

from .copied_functions import (
    CopiedFunctions,
    all_parts,
    names_of_parts,
    of_copy,
)
from .object_graph import walk

# The process's own, which each draw seeds. Samplers hold them.
PROCESS_GENERATORS = (
    random._inst,
    np.random.mtrand._rand,
    torch.default_generator,
)


def independent_copy(model: nn.Module) -> nn.Module:
    """A deep copy that calls nothing of the original.

    Python copies a bound method with its object, and shares any other
    function with what it closes over: a ``forward`` that wraps the layer's
    own would run the original's layer with the original's weights. Functions
    that hold parts of the model are made anew around those of the copy, see
    :class:`CopiedFunctions`. Those of mmengine's
    ``activation_checkpointing`` and of ``torch.compile`` are taken off; both
    refuse second derivatives anyhow.

    Args:
        model: Stays as it is.

    Raises:
        TypeError: The copy still holds a part of the original; or the
            model cannot be copied.
    """
    memo = {id(generator): generator for generator in PROCESS_GENERATORS}
    for module in model.modules():
        # A hook of theirs calculates them anew before each use.
        for weight in calculated_weights(module):
            memo[id(weight)] = weight.detach().clone()
    loggers = (p for _, p in walk(model, all_parts) if isinstance(p, Logger))
    memo |= {id(logger): logger for logger in loggers}
    try:
        functions = CopiedFunctions(model, memo)
        twin = copy.deepcopy(model, memo)
        functions.fill()
    except (TypeError, RuntimeError, PicklingError) as e:
        raise TypeError(
            f'{type(model).__name__} is scored on a copy and cannot be '
            f'copied ({e}): keep files, locks, and tensors that have a '
            'gradient function off the attributes of its modules'
        ) from e
    for module in twin.modules():
        for name, value in vars(module).items():
            vars(module)[name] = of_copy(value, memo)
    _check_free(twin, model)
    return twin


def _check_free(twin: nn.Module, model: nn.Module) -> None:
    originals = names_of_parts(model)
    for path, part in walk(twin, all_parts):
        if id(part) in originals:
            raise TypeError(
                f'model{_short(path)}: this is {originals[id(part)]!r} of '
                f'the {type(model).__name__} itself, not of the copy that is '
                'scored: copying does not reach global names, what a class '
                'copies in its own way, and weak references or wrapped '
                'methods inside of containers. Keep it in an attribute of '
                'its module, or define a function that uses it in the class '
                'of the module'
            )


def _short(path: str) -> str:
    """As one writes it: ``._modules['neck']`` is ``.neck``."""
    for kind in ('_modules', '_parameters', '_buffers'):
        path = path.replace(f".{kind}['", '.')
    return path.replace("']", '')
