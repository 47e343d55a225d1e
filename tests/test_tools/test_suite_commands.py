"""Commands on a suite whose cells are said to have run."""

from argparse import Namespace

import pytest

import epsd_mm
from epsd_mm.benchmark.export import export_json
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_folder import STORE

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')


CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = dict(dense=dict(variant='dense'), epsd=dict())
sparsities = [0.9]
seeds = [0]
"""


@pytest.fixture
def suite(tmp_path):
    """Writes a suite, edited; returns what names it and its folder."""

    def write(more='', work_dir='work'):
        path = tmp_path / 'suite.py'
        path.write_text(f'{CONTENT}\n{more}\n')
        return str(path), '--work-dir', str(tmp_path / work_dir)

    return write


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    """Those of that suite."""
    path = tmp_path_factory.mktemp('suite') / 'suite.py'
    path.write_text(CONTENT)
    return Suite.load(path).cells


@pytest.fixture
def finished(cells, tmp_path):
    """The store of the suite, all of whose cells have finished."""
    store = Store(tmp_path / 'work' / STORE)
    store.add((cell.key, cell.name, cell.spec()) for cell in cells)
    for cell in cells:
        store.claim([cell.key], 'one')
        store.finish(cell.key, 'one', {'metric/accuracy/top1': (1, '%')}, {})
        (tmp_path / 'work' / 'cells' / cell.key).mkdir(parents=True)
    return store


@pytest.mark.parametrize(
    'edit, gone', [('sparsities = [0.8]', 1), ('seeds = [7]', 2)]
)
def test_clean_deletes_nothing_before_it_is_told_to(
    edit, gone, suite, finished, run, capsys, tmp_path
):
    where, folders = suite(edit), tmp_path / 'work' / 'cells'
    with pytest.raises(SystemExit) as ended:
        run('benchmark', 'clean', *where)
    assert f'{gone} of the 2 cells in' in str(ended.value)
    assert f'{gone} of them finished' in str(ended.value)
    assert '--yes' in str(ended.value)
    assert capsys.readouterr().out.count(', finished\n') == gone
    assert len(finished.entries()) == len(list(folders.iterdir())) == 2

    run('benchmark', 'clean', *where, '--yes')
    assert capsys.readouterr().out.count('deleted ') == gone
    assert len(finished.entries()) == len(list(folders.iterdir())) == 2 - gone


def test_there_may_be_nothing_to_clean(suite, finished, run, capsys):
    run('benchmark', 'clean', *suite())
    assert capsys.readouterr().out == ''
    assert len(finished.entries()) == 2


def test_results_of_which_none_is_the_suites_are_refused(
    suite, finished, run, tmp_path
):
    file = tmp_path / 'results.json'
    export_json(finished.entries(), file)
    where = suite('seeds = [7]', 'elsewhere')
    with pytest.raises(SystemExit, match='none of the 2 finished cells of'):
        run('benchmark', 'import', *where, file)
    assert not (tmp_path / 'elsewhere').exists()


def test_results_of_which_some_are_the_suites_are_counted(
    suite, finished, run, capsys, tmp_path
):
    file = tmp_path / 'results.json'
    export_json(finished.entries(), file)
    where = suite('sparsities = [0.8]', 'elsewhere')
    run('benchmark', 'import', *where, file)
    said = capsys.readouterr().out
    assert '2 finished cells taken' in said
    assert '1 of the 2 cells of' in said


@pytest.mark.parametrize(
    'words, said',
    [
        (['--dry-run', '--jobs', '0'], '--jobs 0 must be at least 1'),
        (['--dry-run', '--jobs', '2'], '--jobs has no effect beside'),
        (['--dry-run', '--executor', 'ray'], '--executor has no effect'),
        (['--dry-run', '--option', 'foo=1'], '--option has no effect'),
        (['--costs', 'none.json'], '--costs has no effect without --dry-run'),
        (
            ['--option', 'thread=1'],
            "no 'thread': did you mean 'threads'.* gpus, per_gpu, threads;",
        ),
        (['--option', 'cpus=2'], "cpus=2: .* no 'cpus': .*gpus, per_gpu, thr"),
        (['--option', 'workers=2'], "no 'workers'.*--jobs says how many"),
        (['--option', 'threads=abc'], "threads='abc' must be a whole number"),
        (['--executor', 'ray', '--option', 'thread=1'], 'address, cpus, gpus'),
    ],
)
def test_what_has_no_effect_is_told_before_data_are_looked_at(
    words, said, suite, run, tool, monkeypatch
):
    tool('benchmark')  # from whose folder the commands are imported
    monkeypatch.setattr(
        'suite_commands.running.check_data', lambda cells: pytest.fail()
    )
    with pytest.raises(SystemExit, match=said):
        run('benchmark', 'run', *suite(), *words)


def test_a_cell_that_cannot_train_stops_the_suite_before_any_runs(
    suite, run, tool, monkeypatch, tmp_path
):
    tool('benchmark')
    monkeypatch.setattr(
        'suite_commands.running.check_data', lambda cells: None
    )
    loop = dict(by_epoch=False, max_iters=90, _delete_=True)
    gmp = dict(
        policy='GMP', variant='prune-only', options=dict(train_cfg=loop)
    )
    with pytest.raises(SystemExit, match="'a/GMP/0.9/seed 0' cannot run: eve"):
        run('benchmark', 'run', *suite(f"methods['GMP'] = {gmp!r}"))
    assert not list(tmp_path.glob('work/cells/*'))


def test_gpus_that_no_cell_would_take_are_told(tool, monkeypatch, capsys):
    tool('benchmark')
    from suite_commands.running import local

    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    for option, told in (({}, True), (dict(gpus=[0, 1]), False)):
        local(Namespace(jobs=1, option=option), None).close()
        assert ('gpus=0,1' in capsys.readouterr().out) == told
