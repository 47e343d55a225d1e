"""One process at a time; the lock of a dead one is free."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_held: dict[int, 'FileLock'] = {}


class LockedError(OSError):
    """Another process holds the lock; ``str`` of it says who."""


class LocksUnsupportedError(OSError):
    """The file system knows no locks."""


class FileLock:
    """A lock that ends with the process, however that ends.

    The file is there while the lock is held, and says who holds it.

    Args:
        path: Of the file; its folder must exist.

    Raises:
        LockedError: Another process, or this one, holds it.
        LocksUnsupportedError: There are no locks on this file system.
        OSError: The file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: int | None = None
        while self._handle is None:
            self._handle = _locked(self.path)
        _held[self._handle] = self
        holder = f'process {os.getpid()} on {os.uname().nodename}'
        try:
            os.truncate(self._handle, 0)
            os.write(self._handle, holder.encode())
        except OSError as error:
            self.release()
            raise _explained(error, self.path) from error

    def release(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._close()

    def _close(self) -> None:
        _held.pop(self._handle, None)
        os.close(self._handle)
        self._handle = None


def wait_for_lock(
    path: str | Path, say: Callable[[str], None], pause: float = 0.5
) -> FileLock:
    """A lock, once whoever holds it is done.

    Args:
        path: Of the lock's file.
        say: Is told once, by whom it is held.
        pause: Seconds between two attempts.

    Raises:
        LocksUnsupportedError: There are no locks on this file system.
        OSError: The file cannot be written.
    """
    told = False
    while True:
        try:
            return FileLock(path)
        except LockedError as error:
            if not told:
                say(str(error))
            told = True
            time.sleep(pause)


def _locked(path: Path) -> int | None:
    """The handle of a locked file; None where it was removed just then."""
    try:
        # A link that leads nowhere would look like a folder that is not there.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except FileNotFoundError:
        pass
    except BlockingIOError:
        who = os.read(handle, 200).decode(errors='replace')
        os.close(handle)
        raise LockedError(who or 'another process') from None
    except OSError as error:
        os.close(handle)
        if error.errno in _UNSUPPORTED:
            raise LocksUnsupportedError(
                error.errno, error.strerror, str(path)
            ) from error
        raise
    os.close(handle)
    return None


def _explained(error: OSError, path: Path) -> OSError:
    """The same with the path, and with what can be done."""
    return OSError(
        error.errno,
        f'{error.strerror}: a lock is a small file that is written there; '
        'remove what is in its place, or see that its folder can be '
        'written to',
        str(path),
    )


def _let_go() -> None:
    """A forked worker that outlives its parent must not hold its locks."""
    for lock in list(_held.values()):
        lock._close()


os.register_at_fork(after_in_child=_let_go)
