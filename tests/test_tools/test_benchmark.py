"""A suite from its config to its report, by the tool."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from epsd_mm.benchmark.store import Store
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.evaluation import Predictions, aurc

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'analysis_tools'))

from damage.killed_suite import KilledSuite, running_cells  # noqa: E402
from damage.tiny_suite import write_tiny_suite  # noqa: E402

pytestmark = pytest.mark.slow


@contextmanager
def imported_from_here():
    """Let processes that are started import this package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(ROOT))
        patch.setenv('OMP_NUM_THREADS', '1')
        yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A suite of two cells over drawn pictures, and where it has run."""
    folder = tmp_path_factory.mktemp('finished')
    path = write_tiny_suite(folder, 1, 8, ('dense', 'EPSD'))
    suite = KilledSuite(path, folder / 'work')
    with imported_from_here():
        said = suite.tool('run', '--jobs', '2')
    assert '2 of 2 cells finished' in said
    return suite


@pytest.fixture
def where(finished):
    return str(finished.suite), '--work-dir', str(finished.folder)


@pytest.fixture
def suite(finished, tmp_path):
    """A copy of the suite that nothing has run of, and its work dir."""
    path = finished.suite.with_name(f'{tmp_path.name}.py')
    path.write_text(finished.suite.read_text())
    return str(path), tmp_path / 'work'


def results_of(suite):
    paths = sorted(suite.folder.glob('cells/*/result.json'))
    return {path: json.loads(path.read_text())['metrics'] for path in paths}


def test_a_finished_suite_runs_nothing_again(finished, where, run):
    before = {path: path.stat().st_mtime_ns for path in results_of(finished)}
    assert len(before) == 2
    run('benchmark', 'run', *where)
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())


def test_results_are_measured_reported_and_exported(
    finished, where, run, tmp_path
):
    metrics = results_of(finished).values()
    assert all('metric/accuracy/top1' in each for each in metrics)
    for each in metrics:
        assert each['training/seconds'][0] > 0
        assert each['training/peak_memory'][0] > 2**27
    for path, each in results_of(finished).items():
        kept = Predictions.load(path.with_name('predictions.npz'))
        right = 100 * kept.correct.mean()
        assert each['metric/accuracy/top1'][0] == pytest.approx(right, 1e-4)
        area = aurc(kept.confidence, kept.correct)
        assert each['metric/calibration/aurc'][0] == pytest.approx(area, 1e-4)
    (pruned,) = (each for each in metrics if 'saved/sparsity' in each)
    assert pruned['saved/sparsity'][0] == pytest.approx(0.5, abs=1e-2)
    for folder in finished.folder.glob('cells/*'):
        assert [p.name for p in folder.glob('*.pth')] == ['epoch_8.pth']

    run('benchmark', 'report', *where, '--out', str(tmp_path))
    page = (tmp_path / 'report.html').read_text()
    assert 'Drawn pictures' in page and 'All 2 cells' in page
    assert not re.search('(src|href)="http', page)
    # of the run's own files: masks, and the self-distillation term
    assert 'Masks at 0.5' in page and 'first steps after pruning' in page
    assert 'images scored' in page
    run('benchmark', 'export', *where, '--out', str(tmp_path))
    assert (tmp_path / 'results.csv').read_text().count('EPSD')


@pytest.fixture
def one_thread():
    """As a cell has it: sums of floats depend on their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    'method, variant, options',
    [
        ('dense', 'dense', []),
        ('EPSD', 'epsd', ['default_hooks.epsd.sparsity=0.5']),
    ],
)
def test_a_cell_ends_as_the_same_run_by_the_training_tool(
    finished, run, tmp_path, one_thread, method, variant, options
):
    run(
        *('train', finished.suite.with_name('config.py')),
        *('--variant', variant, '--work-dir', tmp_path),
        *('--cfg-options', 'randomness.seed=0', *options),
    )
    (cell,) = (
        path.parent
        for path in finished.folder.glob('cells/*/cell.json')
        if json.loads(path.read_text())['method'] == method
    )
    ours, theirs = (
        load_values(folder / 'epoch_8.pth')['state_dict']
        for folder in (cell, tmp_path)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_suite_without_results_makes_no_metafile(suite, run):
    path, work_dir = suite
    Store(work_dir / 'store.sqlite')
    where = (path, '--work-dir', str(work_dir))
    with pytest.raises(SystemExit, match='no cell is finished'):
        run('benchmark', 'metafile', *where, str(work_dir / 'metafile.yml'))


def test_a_metafile_that_its_index_cannot_name_is_not_written(
    finished, where, run, tmp_path
):
    out, index = tmp_path / 'metafile.yml', tmp_path / 'index.yml'
    files = (str(out), '--index', str(index))
    root = ('--root', str(finished.suite.parent))
    with pytest.raises(SystemExit, match='metafile.yml is not inside'):
        run('benchmark', 'metafile', *where, *files, *root)
    assert not out.exists() and not index.exists()


def trained(folder, name):
    """Wait for a cell to save its first epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for spec in folder.glob('cells/*/cell.json'):
            saved = list(spec.parent.glob('epoch_*.pth'))
            if saved and name in spec.read_text():
                return spec.parent
        time.sleep(0.01)
    raise TimeoutError(name)


def test_a_killed_suite_ends_with_the_same_table(finished, tmp_path):
    """The runner and a cell, both while cells train."""
    killed = KilledSuite(finished.suite, tmp_path)
    with imported_from_here(), open(tmp_path / 'runner.txt', 'ab') as log:
        runner = subprocess.Popen(
            killed.command('run', '--jobs', '2'), stdout=log, stderr=log
        )
        cell = trained(tmp_path, 'EPSD')
        for pid in running_cells(cell):
            os.kill(pid, signal.SIGKILL)
        trained(tmp_path, 'dense')
        runner.kill()
        runner.wait()
        assert not list(cell.glob('result.json'))
        killed.run(kills=0)
        assert killed.table() == finished.table()
    again = [p for p in results_of(killed) if 'EPSD' not in p.parent.name]
    assert len(again) == 2


def test_a_dry_run_says_what_is_known_and_makes_nothing(
    finished, where, suite, run, capsys, tmp_path
):
    path, work_dir = suite
    run('benchmark', 'run', path, '--work-dir', str(work_dir), '--dry-run')
    assert '2 cells to run; 2 not measured' in capsys.readouterr().out
    run('benchmark', 'export', *where, '--out', str(tmp_path))
    known = ('--costs', str(tmp_path / 'results.json'))
    run(
        *('benchmark', 'run', path, '--work-dir', str(work_dir)),
        *('--dry-run', *known),
    )
    said = capsys.readouterr().out
    assert '2 cells to run: 0.0' in said and 'not measured' not in said
    assert not work_dir.exists()
    with pytest.raises(SystemExit, match='--costs has no effect'):
        run('benchmark', 'run', path, '--work-dir', str(work_dir), *known)


def test_a_report_elsewhere_has_all_that_it_has_here(
    finished, where, run, capsys, tmp_path
):
    def report(*where):
        run('benchmark', 'report', *where, '--out', str(tmp_path / 'page'))
        return (tmp_path / 'page' / 'report.md').read_text()

    here = report(*where)
    run('benchmark', 'export', *where, '--files', '--out', str(tmp_path))
    there = str(finished.suite), '--work-dir', str(tmp_path / 'there')
    results, files = tmp_path / 'results.json', tmp_path / 'cells.tar.gz'
    run('benchmark', 'import', *there, str(results), '--files', str(files))
    assert 'files of 2 cells taken' in capsys.readouterr().out
    assert 'Masks at 0.5' in here and 'Risk at three coverages' in here
    assert report(*there) == here


def test_results_of_another_suite_are_said_to_be_so(
    finished, where, suite, run, capsys, tmp_path
):
    path, work_dir = suite
    run('benchmark', 'export', *where, '--out', str(tmp_path))
    file = str(tmp_path / 'results.json')
    run('benchmark', 'import', path, file, '--work-dir', str(work_dir))
    said = capsys.readouterr().out
    assert '2 finished cells taken' in said and 'not in the suite' not in said
    with open(path, 'a') as text:
        text.write('sparsities = [0.6]\n')
    elsewhere = str(work_dir.with_name('elsewhere'))
    run('benchmark', 'import', path, file, '--work-dir', elsewhere)
    assert '1 of the 2 cells of' in capsys.readouterr().out


@pytest.mark.parametrize('command', ['status', 'report', 'export', 'clean'])
def test_where_nothing_has_run_nothing_is_made(command, suite, run):
    path, work_dir = suite
    with pytest.raises(SystemExit, match='nothing of this suite has run'):
        run('benchmark', command, path, '--work-dir', str(work_dir))
    assert not work_dir.exists()


def test_a_damaged_store_is_named_and_rebuilt(
    finished, where, run, capsys, tmp_path
):
    store = finished.folder / 'store.sqlite'
    with sqlite3.connect(store) as db:
        db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    before = finished.table()
    store.write_bytes(store.read_bytes()[:5000])
    for command in ('run', 'status', 'report'):
        with pytest.raises(SystemExit, match='rebuild SUITE'):
            run('benchmark', command, *where)
    run('benchmark', 'rebuild', *where)
    assert '2 cells, 2 of them finished' in capsys.readouterr().out
    assert finished.table() == before
    (aside,) = finished.folder.glob('store.aside_*.sqlite')
    assert aside.stat().st_size == 5000


SEEN = """
import os, runpy, sys
tool = sys.argv.pop(1)
sys.path.insert(0, os.path.dirname(tool))
try:
    runpy.run_path(tool, run_name='__main__')
finally:
    print('torch' in sys.modules)
"""


@pytest.mark.parametrize('command', ['status', 'export', '--help'])
def test_to_look_at_a_suite_takes_no_torch(command, finished, where):
    tool = str(ROOT / 'tools' / 'benchmark.py')
    words = [command] if command == '--help' else [command, *where]
    with imported_from_here():
        said = subprocess.run(
            [sys.executable, '-c', SEEN, tool, *words],
            capture_output=True,
            text=True,
        )
    assert said.stdout.split()[-1] == 'False', said.stdout + said.stderr
    assert said.returncode == 0


def test_stale_cells_are_listed_by_key_and_deleted_when_asked(
    finished, run, capsys, tmp_path
):
    where = ('--work-dir', str(tmp_path / 'copy'))
    subprocess.run(['cp', '-r', finished.folder, where[1]], check=True)
    edited = finished.suite.with_name('edited.py')
    edited.write_text(
        finished.suite.read_text().replace('sparsities = [0.5]', '')
        + 'sparsities = [0.6]'
    )
    run('benchmark', 'status', str(edited), *where)
    said = ' '.join(capsys.readouterr().out.split())
    (stale,) = (
        path.parent
        for path in Path(where[1]).glob('cells/*/cell.json')
        if 'EPSD' in path.read_text()
    )
    assert f'{stale.name} pictures/EPSD/0.5/seed 0' in said
    assert stale.exists()
    with pytest.raises(SystemExit, match='1 of the 2 cells .* say --yes'):
        run('benchmark', 'clean', str(edited), *where)
    assert stale.exists()
    run('benchmark', 'clean', str(edited), *where, '--yes')
    assert f'deleted {stale.name}' in capsys.readouterr().out
    assert not stale.exists()
    assert len(list(stale.parent.iterdir())) == 1


def test_a_cell_that_fails_says_why_and_where(suite, run, capsys):
    path, work_dir = suite
    with open(path, 'a') as file:
        file.write(
            "methods['EPSD']['options'] = {'model.head.num_classes': 2}\n"
        )
    where = (path, '--work-dir', str(work_dir))
    with pytest.raises(SystemExit):
        run('benchmark', 'run', *where, '--jobs', '2')
    said = capsys.readouterr().out
    assert '1 of 2 cells finished, 1 failed' in said
    assert 'num_classes' in said and '--retry' in said
    run('benchmark', 'run', *where, '--dry-run')
    assert '0 cells to run; 1 failed before' in capsys.readouterr().out
    run('benchmark', 'run', *where, '--dry-run', '--retry')
    assert '1 cell to run' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run('benchmark', 'status', *where)
    shown = ' '.join(capsys.readouterr().out.split())
    assert 'failed: pictures/EPSD/0.5/seed 0: ended with status 1' in shown
    assert 'num_classes' in shown
    assert 'log.txt' in shown


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['--option', 'thread=2'], "no 'thread': did you mean 'threads'"),
        (['--jobs', '0'], '--jobs 0'),
        (['--executor', 'ray', '--jobs', '0'], '--jobs 0'),
        (
            ['--jobs', '3', '--option', 'gpus=0', 'per_gpu=2'],
            r'workers=3 is more than gpus=\[0\] hold, with per_gpu=2 2',
        ),
    ],
)
def test_wrong_options_are_one_sentence(arguments, said, suite, run):
    path, work_dir = suite
    with pytest.raises(SystemExit, match=said):
        run('benchmark', 'run', path, '--work-dir', str(work_dir), *arguments)
