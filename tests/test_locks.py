"""One process at a time, and a dead one holds nothing."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from epsd_mm.locks import (
    FileLock,
    LockedError,
    LocksUnsupportedError,
    wait_for_lock,
)

HOLD = """
import os, sys, time
sys.path.insert(0, {root!r})
from epsd_mm.locks import FileLock
lock = FileLock({path!r})
if {forks!r} and os.fork() == 0:
    time.sleep(60)
print('held', flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds a lock; all are gone in the end."""
    started = []

    def start(forks=False):
        code = HOLD.format(
            root=os.getcwd(), path=str(tmp_path / 'lock'), forks=forks
        )
        process = subprocess.Popen(
            [sys.executable, '-c', code],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == b'held\n'
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize('forks', [False, True], ids=['alone', 'with worker'])
def test_a_lock_ends_with_its_process_not_with_its_workers(
    forks, holder, tmp_path
):
    process = holder(forks)
    with pytest.raises(LockedError, match=f'process {process.pid} on'):
        FileLock(tmp_path / 'lock')
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    FileLock(tmp_path / 'lock').release()


def test_a_released_lock_leaves_no_file(tmp_path):
    lock = FileLock(tmp_path / 'lock')
    with pytest.raises(LockedError):
        FileLock(tmp_path / 'lock')
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())


def test_who_waits_is_told_once_and_gets_it(tmp_path, monkeypatch):
    first, told = FileLock(tmp_path / 'lock'), []
    pauses = iter([None, None, first.release])

    def sleep(seconds):
        then = next(pauses)
        if then:
            then()

    monkeypatch.setattr(time, 'sleep', sleep)
    wait_for_lock(tmp_path / 'lock', told.append).release()
    assert len(told) == 1 and str(os.getpid()) in told[0]


@pytest.mark.parametrize('what', ['folder', 'link', 'no folder'])
def test_what_cannot_be_locked_is_named_with_a_remedy(what, tmp_path):
    path = tmp_path / 'lock'
    if what == 'folder':
        path.mkdir()
    elif what == 'link':
        path.symlink_to('nowhere/at/all')
    else:
        path = tmp_path / 'none' / 'lock'
    with pytest.raises(OSError, match=f'remove what is.*{path}') as error:
        FileLock(path)
    # Who prepares a data set makes the folder again, and would for ever.
    missing = isinstance(error.value, FileNotFoundError)
    assert missing == (what == 'no folder')


def test_on_a_full_disk_nothing_stays_locked(tmp_path, monkeypatch):
    def write(handle, content):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as full:
        full.setattr(os, 'write', write)
        with pytest.raises(OSError, match='No space left.*lock'):
            FileLock(tmp_path / 'lock')
    assert not list(tmp_path.iterdir())
    FileLock(tmp_path / 'lock').release()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def flock(handle, how):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.raises(LocksUnsupportedError, match='No locks.*lock'):
        FileLock(tmp_path / 'lock')
