"""A full disk, told in one sentence."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(folder: Path, needed: int, doing: str) -> None:
    """Fail before anything is written.

    Args:
        folder: An existing folder of the disk in question.
        needed: Bytes to come.
        doing: What takes them, for the message.

    Raises:
        OSError: There is less room, with errno ENOSPC.
    """
    if needed > shutil.disk_usage(folder).free:
        raise _full(folder, needed, doing)


@contextmanager
def full_disk_named(
    folder: Path, needed: Callable[[], int], doing: str
) -> Iterator[None]:
    """Say how much room is missing where a write fails for want of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        raise _full(folder, needed(), doing) from error


class DiskFullError(OSError):
    """An OSError of errno ENOSPC that reads as a sentence."""

    def __str__(self) -> str:
        return self.strerror


def _full(folder: Path, needed: int, doing: str) -> OSError:
    free = shutil.disk_usage(folder).free
    return DiskFullError(
        errno.ENOSPC,
        f'the disk of {folder} is too full: {doing} takes {needed:,} bytes '
        f'and {free:,} are free; make room or choose another --data-root',
    )
