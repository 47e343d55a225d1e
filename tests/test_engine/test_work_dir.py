"""All processes of a job train into a folder, or none of them does."""

from pathlib import Path

from epsd_mm.engine.work_dir import claim_work_dir
from epsd_mm.locks import FileLock
from tests.helpers.processes import join, together


def claim(rank, port, work_dir, results):
    join(rank, port, 2)
    try:
        claim_work_dir(work_dir)
        said = 'claimed'
    except OSError as error:
        said = f'{type(error).__name__}: {error}'
    Path(results, str(rank)).write_text(said)


def claimed(work_dir, results):
    """What each of two processes says."""
    together(claim, 2, work_dir, results)
    return [(results / rank).read_text() for rank in '01']


def test_where_the_first_cannot_lock_no_other_one_waits(tmp_path):
    lock = tmp_path / 'run' / '.training.lock'
    lock.mkdir(parents=True)
    first, second = claimed(tmp_path / 'run', tmp_path)
    assert first == second and first.startswith('IsADirectoryError')
    assert str(lock) in first and 'remove what is in its place' in first


def test_where_another_training_goes_on_none_begins(tmp_path):
    (tmp_path / 'run').mkdir()
    lock = FileLock(tmp_path / 'run' / '.training.lock')
    first, second = claimed(tmp_path / 'run', tmp_path)
    lock.release()
    assert first == second and first.startswith('LockedError')
    assert 'choose another work_dir' in first
