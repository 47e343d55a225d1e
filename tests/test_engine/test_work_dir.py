"""All processes of a job train into a folder, or none of them does."""

from functools import partial
from pathlib import Path

from epsd_mm.analysis import require_folder
from epsd_mm.engine.main_process import only_main
from epsd_mm.engine.work_dir import claim_work_dir
from epsd_mm.locks import FileLock
from tests.helpers.processes import join, together


def attempt(rank, port, task, results):
    join(rank, port, 2)
    try:
        task()
        said = 'done'
    except OSError as error:
        said = f'{type(error).__name__}: {error}'
    Path(results, str(rank)).write_text(said)


def attempted(task, results):
    """What each of two processes says."""
    together(attempt, 2, task, results)
    return [(results / rank).read_text() for rank in '01']


def test_where_the_first_cannot_lock_no_other_one_waits(tmp_path):
    lock = tmp_path / 'run' / '.training.lock'
    lock.mkdir(parents=True)
    claim = partial(claim_work_dir, tmp_path / 'run')
    first, second = attempted(claim, tmp_path)
    assert first == second and first.startswith('IsADirectoryError')
    assert str(lock) in first and 'remove what is in its place' in first


def test_where_another_training_goes_on_none_begins(tmp_path):
    (tmp_path / 'run').mkdir()
    lock = FileLock(tmp_path / 'run' / '.training.lock')
    claim = partial(claim_work_dir, tmp_path / 'run')
    first, second = attempted(claim, tmp_path)
    lock.release()
    assert first == second and first.startswith('LockedError')
    assert 'choose another work_dir' in first


def test_where_masks_cannot_be_written_no_process_scores(tmp_path):
    (tmp_path / 'epsd').write_text('no folder')
    check = partial(only_main, require_folder, tmp_path / 'epsd')
    first, second = attempted(check, tmp_path)
    assert first == second and 'it is no folder: move it' in first
