"""The names of classes that a config gives, and slips in them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def check_class_names(dataset: Any) -> None:
    """Raise where the classes of a data set are a string.

    Each of its letters would be a class.

    Raises:
        ValueError: Gives the value and what was meant.
    """
    metainfo = getattr(dataset, 'metainfo', None)
    if not isinstance(metainfo, Mapping):
        return
    classes = metainfo.get('classes')
    if isinstance(classes, str):
        raise ValueError(
            f'metainfo of {type(dataset).__name__} has classes={classes!r}, '
            'a string, each letter of which would be a class: write '
            f'classes=({classes!r},), with the comma of a tuple'
        )


def near_name(name: str, others: Iterable[str]) -> str | None:
    """The one of other names that may be meant, if any is alike."""
    return next(iter(get_close_matches(name, list(others), 1, 0.75)), None)
