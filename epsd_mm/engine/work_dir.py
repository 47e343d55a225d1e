"""One training at a time writes into a folder."""

import logging
from pathlib import Path

from mmengine.logging import print_log

from epsd_mm.files import remove_drafts
from epsd_mm.locks import FileLock, LockedError, LocksUnsupportedError

from .main_process import only_main

# By folder: several runners of one process may follow each other there.
_claimed: dict[Path, FileLock] = {}


def claim_work_dir(work_dir: str | Path) -> None:
    """Let no other process train into this folder until this one is done.

    Drafts that killed processes have left there are removed.

    Raises:
        LockedError: Another one does; says which.
        OSError: The folder cannot be written to.
    """
    only_main(_claim, work_dir)


def release_work_dir(work_dir: str | Path) -> None:
    """Let others train into it."""
    lock = _claimed.pop(Path(work_dir).resolve(), None)
    if lock is not None:
        lock.release()


def _claim(work_dir: str | Path) -> None:
    folder = Path(work_dir).resolve()
    if folder in _claimed:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _claimed[folder] = FileLock(folder / '.training.lock')
    except LockedError as error:
        raise LockedError(
            f'{work_dir} belongs to a training that is going on '
            f'({error}), whose checkpoints a second one would replace: '
            'choose another work_dir, or wait for its end'
        ) from error
    except LocksUnsupportedError as error:
        print_log(
            f'{error}: nothing keeps a second training from writing into '
            f'{work_dir}',
            logger='current',
            level=logging.WARNING,
        )
        return
    remove_drafts(folder)
    remove_drafts(folder / 'epsd')
