"""Values that JSON has a form for."""

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any


def is_plain(value: Any) -> bool:
    """Whether JSON can say what a value is."""
    try:
        check_plain(value)
    except (TypeError, ValueError):
        return False
    return True


def check_plain(value: Any, place: str = '') -> None:
    """Raise where JSON cannot say what a value is.

    Args:
        value: Anything.
        place: Its name, for messages; ``a.b.0`` is one further down.

    Raises:
        TypeError: It is another type than JSON has, or a name is no string.
        ValueError: A number is not finite.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                raise TypeError(
                    f'{place or "it"} has the name {name!r}, where JSON has '
                    'only strings'
                )
            check_plain(each, joined(place, name))
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            check_plain(each, joined(place, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'{place} is {value}, for which JSON has no number')
    elif not isinstance(value, (str, int, float, NoneType)):
        raise TypeError(
            f'{place} is {value!r:.60}, of {type(value).__name__}, which JSON '
            'has no form for'
        )


def joined(place: str, name: str | int) -> str:
    """The place of what is under a name, or at an index, of a place."""
    return f'{place}.{name}' if place else str(name)
