"""Branches that only training uses, such as auxiliary heads."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from epsd_mm.pruning.layers import layer_weights

from .wiring import Trace, Wiring, traceable


def training_branches(
    model: nn.Module, trace: Trace, wiring: Wiring
) -> Trace | None:
    """The same call, and that of training where it reaches more layers.

    Args:
        model: Left as it was.
        trace: Calls it in evaluation mode.
        wiring: What that has reached.

    Returns:
        What traces both. None where nothing more is reached, or where the
        model cannot be called so, without its targets perhaps.
    """
    seen = {id(space.of) for space in wiring.spaces}
    missing = {
        module
        for module in model.modules()
        if layer_weights(module) and id(module) not in seen
    }
    if not missing:
        return None
    training = partial(_in_training, trace)
    try:
        if not missing & _called(model, training):
            return None
    except Exception:  # whatever a model says to what it lacks
        return None
    return lambda like: [trace(like), training(like)]


def _called(model: nn.Module, trace: Trace) -> set[nn.Module]:
    called: set[nn.Module] = set()

    def note(module: nn.Module, inputs: tuple) -> None:
        called.add(module)

    with traceable(model), torch.no_grad(), ExitStack() as hooks:
        for module in model.modules():
            hook = module.register_forward_pre_hook(note)
            hooks.callback(hook.remove)
        trace(model)
    return called


def _in_training(trace: Trace, model: nn.Module) -> Any:
    with _deciding_in_training(model):
        return trace(model)


@contextmanager
def _deciding_in_training(model: nn.Module) -> Iterator[None]:
    """What calls layers is in training mode, and the layers are not.

    So branches are taken as in training, but nothing is dropped, and no
    statistics are those of one image.
    """
    deciding = [
        module
        for module in model.modules()
        if any(True for _ in module.children())
        and not isinstance(module, _NormBase)
    ]
    before = [module.training for module in deciding]
    for module in deciding:
        module.training = True
    try:
        yield
    finally:
        for module, mode in zip(deciding, before):
            module.training = mode
