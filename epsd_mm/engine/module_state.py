"""What a module remembers from one forward pass to the next, put back."""

import random
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .object_graph import Parts, attributes, parts, walk
from .twin import PROCESS_GENERATORS


class ModuleState:
    """What a module remembers beside trained weights, as it is now.

    Attributes and containers of the module, its parts and whatever objects
    they hold (samplers, assigners, losses, histories, random generators),
    and the values of tensors and arrays among them, frozen weights too, which
    a network may let follow those that are trained. Left out are trained
    weights and buffers, of which each evaluation gets copies, what only hooks
    reach, and the generators of the process.

    Args:
        module: A copy of one's own: what it shares with others is put back
            too.
    """

    def __init__(self, module: nn.Module) -> None:
        copied = {id(p) for p in module.parameters() if p.requires_grad}
        copied |= {id(buffer) for buffer in module.buffers()}
        copied |= {id(generator) for generator in PROCESS_GENERATORS}
        self._undo = [
            undo
            for _, obj in walk(module, _parts_without_hooks)
            if id(obj) not in copied and (undo := _undo(obj)) is not None
        ]

    def restore(self) -> None:
        """Make it so again."""
        for undo in self._undo:
            undo()

    @contextmanager
    def kept(self):
        """A context that leaves the state as it was at first."""
        try:
            yield
        finally:
            self.restore()


def _parts_without_hooks(obj: Any) -> Parts:
    held = parts(obj)
    if not isinstance(obj, nn.Module):
        return held
    return (part for part in held if '_hook' not in part[0])


def _undo(obj: Any) -> Callable[[], None] | None:
    """A function that puts back what an object holds itself."""
    if isinstance(obj, Tensor):
        if obj.is_inference():  # cannot be written into
            return None
        return partial(_put_tensor, obj, obj.detach().clone())
    if isinstance(obj, np.ndarray):
        return partial(np.copyto, obj, obj.copy())
    if isinstance(obj, random.Random):
        return partial(obj.setstate, obj.getstate())
    if isinstance(obj, np.random.RandomState):
        return partial(obj.set_state, obj.get_state(legacy=False))
    if isinstance(obj, np.random.Generator):
        bits = obj.bit_generator
        return partial(setattr, bits, 'state', bits.state)
    if isinstance(obj, torch.Generator):
        return partial(obj.set_state, obj.get_state())
    if isinstance(obj, dict):
        return partial(_put_items, obj, dict(obj))
    if isinstance(obj, (list, deque)):
        return partial(_put_elements, obj, [*obj])
    if isinstance(obj, set):
        return partial(_put_members, obj, {*obj})
    held = attributes(obj)
    return partial(_put_items, held, {**held}) if held else None


def _put_tensor(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        if not torch.equal(tensor, value):
            tensor.copy_(value)


def _put_items(held: dict, before: dict) -> None:
    if len(held) != len(before) or any(
        key not in before or before[key] is not value
        for key, value in held.items()
    ):
        held.clear()
        held.update(before)


def _put_elements(held: list | deque, before: list) -> None:
    if len(held) != len(before) or any(
        old is not new for old, new in zip(before, held)
    ):
        held.clear()
        held.extend(before)


def _put_members(held: set, before: set) -> None:
    if held != before:
        held.clear()
        held.update(before)
