"""One object's method with other values of global names."""

from collections.abc import Mapping
from inspect import unwrap
from types import FunctionType, MethodType
from typing import Any


def with_globals(owner: Any, method: str, **names: Any) -> None:
    """Let one object's method see other values of some global names.

    The class and its module stay as they are. Names that its module does
    not have are left out.
    """
    function = _function(owner, method)
    known = function.__globals__
    copied = FunctionType(
        function.__code__,
        {**known, **{k: v for k, v in names.items() if k in known}},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    owner.__dict__[method] = MethodType(copied, owner)


def global_names(owner: Any, method: str) -> Mapping[str, Any]:
    """What a method of an object sees as global; nothing without one."""
    if not hasattr(getattr(owner, method, None), '__func__'):
        return {}
    return _function(owner, method).__globals__


def _function(owner: Any, method: str) -> FunctionType:
    """Without decorators, as those of mmcv that rename old arguments."""
    return unwrap(getattr(owner, method).__func__)
