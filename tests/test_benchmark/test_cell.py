"""One process at a time works on a cell, and ends with what started it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from epsd_mm.benchmark import cell as module
from epsd_mm.benchmark.cell import (
    _forget_unevaluated_end,
    _remove_earlier_checkpoints,
    is_done,
    main,
)
from epsd_mm.benchmark.jobs import BUSY, PARENT
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.suite_folder import RESULT
from epsd_mm.locks import FileLock

GOOD = dict(metrics={'accuracy': [61.5, '%']}, environment=dict(torch='2'))
# Holds the lock of a cell as another process does.
HOLDER = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, f'process {os.getpid()} on earth'.encode())
print('held', flush=True)
time.sleep(60)
"""


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """The folder of a cell; the process is one that runs it."""
    monkeypatch.setattr(sys, 'argv', ['cell', str(tmp_path)])
    monkeypatch.setenv(PARENT, str(os.getppid()))
    monkeypatch.setattr(module, '_PATIENCE', 0.5)
    return tmp_path


@pytest.fixture
def held(cell):
    """Another process works on the cell, and was suspended."""
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, cell / '.cell.lock'],
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    yield holder
    holder.kill()
    holder.communicate()


def test_a_cell_of_a_suspended_process_is_not_begun(
    held, cell, monkeypatch, capfd
):
    monkeypatch.setattr(module, 'run', lambda folder: pytest.fail('two runs'))
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == BUSY
    assert f'process {held.pid} on' in capfd.readouterr().out


def test_a_cell_goes_on_when_the_other_process_is_gone(
    held, cell, monkeypatch
):
    monkeypatch.setattr(module, '_PATIENCE', 30.0)
    ran = []
    monkeypatch.setattr(module, 'run', ran.append)
    held.kill()
    main()
    assert ran == [cell]
    FileLock(cell / '.cell.lock').release()  # it is free again


def test_what_the_other_process_has_done_is_not_done_again(cell, monkeypatch):
    monkeypatch.setattr(module, 'run', lambda folder: pytest.fail('again'))
    (cell / RESULT).write_text(json.dumps(GOOD))
    main()


@pytest.mark.parametrize('text', ['', '{"metrics": {}', '[1]', '{}'])
def test_a_damaged_result_is_set_aside(text, cell):
    (cell / RESULT).write_text(text)
    with pytest.raises(ValueError, match='result.json is damaged'):
        read_result_file(cell)
    assert not is_done(cell)
    assert (cell / f'{RESULT}.damaged').read_text() == text


def run_of(work_dir, unit='epoch', evaluated=None):
    """A run of 10 that has saved its end, and the config of it."""
    scalars = work_dir / '2026' / 'vis_data' / 'scalars.json'
    scalars.parent.mkdir(parents=True)
    lines = [dict(loss=1.0, iter=1, step=1)]
    if evaluated is not None:
        lines.append({'accuracy/top1': 50.0, 'step': evaluated})
    scalars.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    for number in (9, 10):
        (work_dir / f'{unit}_{number}.pth').write_text('a checkpoint')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'{unit}_10.pth'))
    train_cfg = {'by_epoch': unit == 'epoch', f'max_{unit}s': 10}
    return Config(dict(work_dir=str(work_dir), train_cfg=train_cfg))


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
@pytest.mark.parametrize('evaluated, left', [(None, 1), (5, 1), (10, 2)])
def test_an_end_that_was_not_evaluated_is_repeated(
    evaluated, left, unit, tmp_path
):
    """Or a run that is killed while it evaluates would never be."""
    _forget_unevaluated_end(run_of(tmp_path, unit, evaluated))
    names = {path.stem for path in tmp_path.glob('*.pth')}
    assert f'{unit}_9' in names and len(names) == left


def test_a_finished_cell_keeps_its_last_checkpoint(tmp_path):
    run_of(tmp_path)
    _remove_earlier_checkpoints(tmp_path)
    assert [Path(p).name for p in tmp_path.glob('*.pth')] == ['epoch_10.pth']


def test_the_commit_is_that_of_the_package_alone(tmp_path, monkeypatch):
    """A package inside of another checkout has none."""

    def git(*arguments):
        who = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        command = ['git', *who, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    for folder in ('epsd_mm', 'venv/epsd_mm'):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / '__init__.py').touch()
    git('init', '--quiet')
    git('add', 'epsd_mm')
    git('commit', '--quiet', '--message', 'first')

    def commit_of(folder):
        path = str(tmp_path / folder / '__init__.py')
        monkeypatch.setattr(module.epsd_mm, '__file__', path)
        return module._commit()

    assert commit_of('epsd_mm') == git('rev-parse', '--short', 'HEAD')
    assert commit_of('venv/epsd_mm') is None


def test_a_cell_names_the_processor_that_it_ran_on(monkeypatch):
    monkeypatch.setattr(module, 'processor', lambda: 'AMD EPYC 7763')
    assert module.environment()['processor'] == 'AMD EPYC 7763'
