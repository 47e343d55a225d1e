"""Values that JSON has a form for."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict


def read_object(path: str | Path, remedy: str) -> dict[str, Any]:
    """The names and values that a file of JSON holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else; ends with ``remedy``.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is no JSON ({error}): {remedy}') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} holds {content!r:.60}, not names and values: {remedy}'
        )
    return content


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


def check_kind(value: Any, hint: Any, place: str = '') -> None:
    """Raise where a value is not what a type hint says.

    Args:
        value: Anything.
        hint: A plain type, ``list[...]``, ``dict[str, ...]``, a TypedDict,
            or one of them ``| None``.
        place: As of :func:`check_plain`.

    Raises:
        TypeError: It is of another type; ``True`` is no number.
        ValueError: Something is missing.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        if value is not None:
            check_kind(value, inner[0], place)
    elif is_typeddict(hint):
        _require(value, dict, place)
        missing = sorted(hint.__required_keys__ - value.keys())
        if missing:
            raise ValueError(f'{place or "it"} lacks {", ".join(missing)}')
        for name, kind in get_type_hints(hint).items():
            if name in value:
                check_kind(value[name], kind, joined(place, name))
    elif origin is dict:
        _require(value, dict, place)
        for name, each in value.items():
            check_kind(each, inner[1], joined(place, name))
    elif origin is list:
        _require(value, list, place)
        for index, each in enumerate(value):
            check_kind(each, inner[0], joined(place, index))
    else:
        _require(value, (int, float) if hint is float else hint, place)


def joined(place: str, name: str | int) -> str:
    """The place of what is under a name, or at an index, of a place."""
    return f'{place}.{name}' if place else str(name)


def _require(value: Any, kind: Any, place: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = ' or '.join(each.__name__ for each in kinds)
        raise TypeError(f'{place} is {value!r:.60} instead of {names}')
