"""How the tools end on what a user can put right."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_sentence(
    errors: type | tuple[type, ...] = (OSError, ValueError),
) -> Iterator[None]:
    """End the tool on such an error in a sentence, without a traceback."""
    try:
        yield
    except errors as error:
        raise SystemExit(f'error: {error}') from None
