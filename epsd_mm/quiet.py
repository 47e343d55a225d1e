"""Libraries without what they say of their own steps."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Let nothing be printed, and of these loggers only errors.

    Progress bars and warnings of a library about its own insides are noise
    beside our lines, since a user can act on none of them.

    Args:
        loggers: Names of them.
    """
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter('ignore')
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
