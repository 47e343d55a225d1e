"""Functions that close over parts of a model, for a copy of the model."""

import copy
import weakref
from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn

from .object_graph import Parts, bound_parts, parts, walk

# Where functions are made that only wrap the one they are given.
_WRAPPERS = (
    'mmengine.runner.activation_checkpointing',
    'torch._dynamo.eval_frame',
    'torch._dynamo.external_utils',
)


class CopiedFunctions:
    """The functions of a model that hold parts of it, made anew.

    :func:`copy.deepcopy` shares functions. Blank ones take their places in
    its memo, which get their closures, defaults and attributes once what
    these refer to is copied. Functions that hold nothing of the model stay
    shared.

    Args:
        model: The original.
        memo: Of the copy that is about to be made.
    """

    def __init__(self, model: nn.Module, memo: dict[int, Any]) -> None:
        self._memo = memo
        self._originals = set(names_of_parts(model))
        self._cells: dict[int, tuple[CellType, CellType]] = {}
        self._copies = [
            (function, self._blank(function))
            for _, function in walk(model, all_parts)
            if isinstance(function, FunctionType)
            and unwrapped(function) is function
            and self._holds_original(function)
        ]
        memo.update((id(f), blank) for f, blank in self._copies)

    def fill(self) -> None:
        """Let them refer to the copy, which the memo has by now."""
        for cell, blank in self._cells.values():
            try:
                blank.cell_contents = self._of_copy(cell.cell_contents)
            except ValueError:  # not assigned yet
                pass
        for function, blank in self._copies:
            if function.__defaults__ is not None:
                blank.__defaults__ = tuple(
                    self._of_copy(v) for v in function.__defaults__
                )
            if function.__kwdefaults__ is not None:
                blank.__kwdefaults__ = self._values(function.__kwdefaults__)
            vars(blank).update(self._values(vars(function)))

    def _blank(self, function: FunctionType) -> FunctionType:
        cells = [
            self._cells.setdefault(id(cell), (cell, CellType()))[1]
            for cell in function.__closure__ or ()
        ]
        blank = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            closure=tuple(cells),
        )
        for name in ('__module__', '__qualname__', '__doc__'):
            setattr(blank, name, getattr(function, name))
        blank.__annotations__ = function.__annotations__
        return blank

    def _values(self, held: dict) -> dict:
        return {name: self._of_copy(value) for name, value in held.items()}

    def _of_copy(self, value: Any) -> Any:
        value = unwrapped(value)
        if not self._holds_original(value):
            return value
        return of_copy(copy.deepcopy(value, self._memo), self._memo)

    def _holds_original(self, value: Any) -> bool:
        reached = walk(value, all_parts)
        return any(id(part) in self._originals for _, part in reached)


def of_copy(value: Any, memo: dict[int, Any]) -> Any:
    """What is written for an attribute of an original in its copy.

    Args:
        value: As :func:`copy.deepcopy` has left it.
        memo: Its memo.

    Returns:
        A bound method or weak reference of an original as one of its copy,
        a function without what only wraps it, else the value itself.
    """
    value = unwrapped(value)
    if isinstance(value, MethodType):
        function, owner = value.__func__, value.__self__
        return MethodType(
            memo.get(id(function), function), memo.get(id(owner), owner)
        )
    if type(value) is weakref.ref and id(value()) in memo:
        return weakref.ref(memo[id(value())])
    return value


def unwrapped(function: Callable) -> Callable:
    """A function without checkpointing and compilation around it."""
    while (
        isinstance(function, FunctionType)
        and function.__globals__.get('__name__') in _WRAPPERS
        and hasattr(function, '__wrapped__')
    ):
        function = function.__wrapped__
    return function


def all_parts(obj: Any) -> Parts:
    """What an object holds, functions and methods too."""
    if isinstance(obj, MethodType):
        yield from parts(obj)
        yield '.__func__', obj.__func__
    elif not isinstance(obj, FunctionType):
        yield from parts(obj)
    elif unwrapped(obj) is obj:
        yield from bound_parts(obj)
    else:
        yield '.__wrapped__', unwrapped(obj)


def names_of_parts(model: nn.Module) -> dict[int, str]:
    """Modules, parameters and buffers of a model: name by identity."""
    named = [*model.named_modules(), *model.named_parameters()]
    named += model.named_buffers()
    return {id(part): name for name, part in named}
