"""A suite from its config to its report, by the tool."""

import json
import re

import pytest
import torch
from mmengine.config import Config

from epsd_mm.benchmark.cell import run as run_cell
from epsd_mm.benchmark.suite import Suite
from epsd_mm.engine.safe_loading import load_values
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import tiny_classifier_cfg

pytestmark = pytest.mark.slow
EPSD = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion=dict(type='ProsPr', steps=1, lr=0.01),
    sd_loss=dict(type='PSKDLoss'),
    draws=1,
    allow_empty_layers=True,
)
SPARSE = ['default_hooks.epsd.sparsity=0.5']
SUITE = """
title = 'A suite of two cells'
setups = dict(pictures=dict(config='config.py', metric='accuracy/top1'))
methods = {'dense': dict(variant='dense'), 'EPSD': dict()}
sparsities = [0.5]
seeds = [0]
"""


@pytest.fixture
def suite(tmp_path):
    """A suite over a folder of pictures, and its work dir."""
    pictures = picture_folder(tmp_path / 'pictures')
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'unused', EPSD)
    loader = cfg.train_dataloader.to_dict()
    cfg.val_dataloader = dict(
        loader, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    cfg.val_evaluator = dict(type='Accuracy')
    cfg.val_cfg = dict()
    for name in ('work_dir', 'experiment_name', 'visualizer'):
        cfg.pop(name)
    Config(cfg.to_dict()).dump(tmp_path / 'config.py')
    (tmp_path / 'suite.py').write_text(SUITE)
    return str(tmp_path / 'suite.py'), tmp_path / 'work'


def test_a_suite_runs_goes_on_and_reports(suite, run, capsys):
    path, work_dir = suite
    where = (path, '--work-dir', str(work_dir))
    run('benchmark', 'run', *where, '--jobs', '2')
    assert '2 of 2 cells finished' in capsys.readouterr().out
    results = sorted(work_dir.glob('cells/*/result.json'))
    assert len(results) == 2
    times = [path.stat().st_mtime_ns for path in results]
    run('benchmark', 'run', *where)
    assert [path.stat().st_mtime_ns for path in results] == times

    metrics = [json.loads(path.read_text())['metrics'] for path in results]
    assert all('metric/accuracy/top1' in each for each in metrics)
    (pruned,) = (each for each in metrics if 'saved/sparsity' in each)
    assert pruned['saved/sparsity'][0] == pytest.approx(0.5, abs=1e-2)

    run('benchmark', 'report', *where)
    page = (work_dir / 'report' / 'report.html').read_text()
    assert 'A suite of two cells' in page and 'All 2 cells' in page
    assert not re.search('(src|href)="http', page)
    # of the run's own files: masks, and the self-distillation term
    assert 'Masks at 0.5' in page and 'first steps after pruning' in page
    assert 'images scored' in page
    run('benchmark', 'export', *where)
    assert (work_dir / 'export' / 'results.csv').read_text().count('EPSD')


@pytest.mark.parametrize('method, options', [('dense', []), ('EPSD', SPARSE)])
def test_a_cell_ends_as_the_same_run_by_the_training_tool(
    suite, run, tmp_path, method, options
):
    path, _ = suite
    (cell,) = [c for c in Suite.load(path).cells if c.method.name == method]
    spec = dict(cell.spec(), key=cell.key, name=cell.name)
    (tmp_path / 'cell').mkdir()
    (tmp_path / 'cell' / 'cell.json').write_text(json.dumps(spec))
    run_cell(tmp_path / 'cell')
    run(
        *('train', tmp_path / 'config.py'),
        *('--variant', cell.method.variant, '--work-dir', tmp_path / 'tool'),
        *('--cfg-options', 'randomness.seed=0', *options),
    )
    ours, theirs = (
        load_values(tmp_path / name / 'epoch_1.pth')['state_dict']
        for name in ('cell', 'tool')
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_suite_without_results_makes_no_metafile(suite, run):
    path, work_dir = suite
    where = (path, '--work-dir', str(work_dir))
    with pytest.raises(SystemExit, match='no cell is finished'):
        run('benchmark', 'metafile', *where, str(work_dir / 'metafile.yml'))


def test_a_cell_that_fails_says_why_and_where(suite, run, capsys):
    path, work_dir = suite
    with open(path, 'a') as file:
        file.write(
            "methods['EPSD']['options'] = {'model.head.num_classes': 2}\n"
        )
    where = (path, '--work-dir', str(work_dir))
    run('benchmark', 'run', *where, '--jobs', '2')
    assert '1 of 2 cells finished, 1 failed' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run('benchmark', 'status', *where)
    shown = ' '.join(capsys.readouterr().out.split())
    assert 'failed: pictures/EPSD/0.5/seed 0: ended with status 1' in shown
    assert 'num_classes' in shown
    assert 'log.txt' in shown


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['--option', 'thread=2'], "unexpected keyword argument 'thread'"),
        (['--jobs', '0'], 'workers=0'),
    ],
)
def test_wrong_options_are_one_sentence(arguments, said, suite, run):
    path, work_dir = suite
    with pytest.raises(SystemExit, match=said):
        run('benchmark', 'run', path, '--work-dir', str(work_dir), *arguments)
