"""One training at a time writes into a folder."""

from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from epsd_mm.files import remove_drafts
from epsd_mm.locks import FileLock, LockedError, LocksUnsupportedError

# By folder: several runners of one process may follow each other there.
_claimed: dict[Path, FileLock] = {}


def claim_work_dir(runner: Runner) -> None:
    """Let no other process train into this folder until this one is done.

    Drafts that killed processes have left there are removed.

    Raises:
        LockedError: Another one does; says which.
        OSError: The folder cannot be written to.
    """
    problem = [None]
    if is_main_process():
        try:
            _claim(runner)
        except OSError as error:
            problem = [error]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]


def release_work_dir(runner: Runner) -> None:
    """Let others train into it."""
    lock = _claimed.pop(Path(runner.work_dir).resolve(), None)
    if lock is not None:
        lock.release()


def _claim(runner: Runner) -> None:
    folder = Path(runner.work_dir).resolve()
    if folder in _claimed:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _claimed[folder] = FileLock(folder / '.training.lock')
    except LockedError as error:
        raise LockedError(
            f'{runner.work_dir} belongs to a training that is going on '
            f'({error}), whose checkpoints a second one would replace: '
            'choose another work_dir, or wait for its end'
        ) from error
    except LocksUnsupportedError as error:
        runner.logger.warning(
            f'{error}: nothing keeps a second training from writing into '
            f'{runner.work_dir}'
        )
        return
    remove_drafts(folder)
    remove_drafts(folder / 'epsd')
