"""What hangs on a module besides tensors: the objects that it holds."""

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from logging import Logger
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

Parts = Iterator[tuple[str, Any]]


def parts(obj: Any) -> Parts:
    """What an object holds itself, each with how it is written.

    Functions hold nothing here, see :func:`bound_parts`; neither do
    tensors, classes, python modules and loggers.
    """
    if isinstance(obj, dict):
        return ((f'[{key!r}]', value) for key, value in obj.items())
    if isinstance(obj, (list, tuple, set, frozenset, deque)):
        return ((f'[{i}]', value) for i, value in enumerate(obj))
    if isinstance(obj, partial):
        held = dict(func=obj.func, args=obj.args, keywords=obj.keywords)
        return _attributes(held)
    if isinstance(obj, MethodType):
        return _attributes(dict(__self__=obj.__self__))
    if isinstance(obj, weakref.ref):
        return iter([('()', obj())])
    return _attributes(attributes(obj))


def attributes(obj: Any) -> dict:
    """The namespace of an object that has one of its own, or none."""
    if isinstance(obj, _WITHOUT_ATTRIBUTES):
        return {}
    return getattr(obj, '__dict__', {})


def bound_parts(function: FunctionType) -> Parts:
    """What a function has in its closure, defaults and attributes.

    Of the globals that it names, modules and tensors only.
    """
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            yield f' closing over {name}', cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    defaults = [*(function.__defaults__ or ())]
    defaults += (function.__kwdefaults__ or {}).values()
    for value in defaults:
        yield ' with a default', value
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, (nn.Module, Tensor)):
            yield f' naming the global {name}', value
    yield from _attributes(vars(function))


def walk(
    root: Any, parts_of: Callable[[Any], Parts] = parts
) -> Iterator[tuple[str, Any]]:
    """All that a root holds, directly or not, each object once.

    Yields:
        How the object is reached from the root, and the object.
    """
    seen, queue = {id(root)}, deque([('', root)])
    while queue:
        path, obj = queue.popleft()
        yield path, obj
        for label, part in parts_of(obj):
            if id(part) not in seen:
                seen.add(id(part))
                queue.append((path + label, part))


def _attributes(held: dict) -> Parts:
    return ((f'.{name}', value) for name, value in held.items())


_WITHOUT_ATTRIBUTES = (
    Tensor,
    type,
    ModuleType,
    FunctionType,
    MethodType,
    partial,
    Logger,
    Enum,
)
