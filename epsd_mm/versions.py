"""Versions of what is saved."""

from typing import Any


def check_version(version: Any, known: int, what: str, remedy: str) -> None:
    """Refuse what a later version of this package has written.

    Args:
        version: That is told; the first that a format numbers is 1.
        known: The newest; it and all before are read here.
        what: Subject and verb of the sentence, such as ``'it is'``.
        remedy: Its end.

    Raises:
        ValueError: It is none of them.
    """
    if type(version) is not int or not 1 <= version <= known:
        raise ValueError(
            f'{what} of version {version!r}, and this package reads versions '
            f'up to {known}: {remedy}'
        )
