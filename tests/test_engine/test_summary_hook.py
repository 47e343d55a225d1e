"""The table at the end of a training's log."""

import re
import shlex
from pathlib import Path

import pytest

from epsd_mm.engine.hooks import SummaryHook
from tests.helpers.small_runs import PRUNED, small_runner

SUMMARY = dict(type='SummaryHook')


def table(caplog):
    """Rows of the table in what was logged, by their names."""
    (text,) = [m for m in caplog.messages if 'Summary' in m]
    found = re.findall(r'^│ (.+?) +│ (.*?) +│$', text, re.M)
    return dict(found)


@pytest.fixture
def logged(caplog):
    """Trains, and returns the table and the runner."""

    def train(work_dir, hook=PRUNED, **changes):
        hooks = [dict(h) for h in (hook, SUMMARY) if h]
        runner = small_runner(work_dir, custom_hooks=hooks, **changes)
        caplog.clear()
        runner.logger.addHandler(caplog.handler)
        runner.train()
        return table(caplog), runner

    return train


def test_zeros_are_counted_in_the_weights(logged, tmp_path):
    rows, runner = logged(tmp_path, epochs=2)
    weight, bias = runner.model.layer.weight, runner.model.layer.bias
    of_all = int((weight == 0).sum()) / (weight.numel() + bias.numel())
    assert rows['sparsity'] == (
        f'0.5000 of 24 prunable weights, {of_all:.4f} of all 28 weights'
    )
    assert rows['trained'].startswith('epoch 2, iteration 4 in 0:00:0')
    assert rows['scored'].endswith(' s by Magnitude')


def test_the_files_that_it_names_are_there(logged, tmp_path):
    rows, _ = logged(tmp_path)
    assert rows['checkpoint'] == str(tmp_path / 'epoch_1.pth')
    for name in ('checkpoint', 'masks', 'log'):
        assert (tmp_path / rows[name]).is_file(), name


def test_the_command_of_its_page_can_be_pasted_anywhere(logged, tmp_path):
    elsewhere, work_dir = tmp_path / 'else where', tmp_path / 'a run'
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        rows, _ = logged(work_dir)
        python, tool, folder = shlex.split(rows['as a page'])
        assert (python, Path(folder)) == ('python', work_dir)
        assert Path(tool).is_file()


def test_a_dense_run_counts_its_layers(logged, tmp_path):
    rows, _ = logged(tmp_path, hook=None)
    assert rows['sparsity'].startswith('0.0000 of 24 weights of convolution')
    assert 'masks' not in rows and 'scored' not in rows


def test_metrics_are_those_of_the_last_evaluation(logged, tmp_path):
    hook = SummaryHook()
    _, runner = logged(tmp_path)
    hook.after_val_epoch(runner, {'accuracy/top1': 10.0})
    hook.after_val_epoch(runner, {'accuracy/top1': 62.5, 'time': 1.0})
    hook.before_train(runner)
    rows = dict(hook._rows(runner))
    assert rows['accuracy/top1'] == '62.5 % after epoch 1, iteration 2'
    assert 'time' not in rows


def test_flexible_runners_and_resumed_ones_have_it_too(logged, tmp_path):
    logged(tmp_path)
    rows, _ = logged(
        tmp_path, epochs=2, flexible=True, resume=True, load_from=None
    )
    assert rows['trained'].endswith('since iteration 2')
