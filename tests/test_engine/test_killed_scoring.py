"""A scoring that is killed goes on, and changes nothing by that."""

import json
import logging
import math
import os
import signal
from itertools import groupby

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from epsd_mm.engine import ledger_file
from epsd_mm.engine.ledger_file import LedgerFile
from epsd_mm.pruning import Masks
from tests.helpers.datasets import picture_folder
from tests.helpers.processes import distributed, join, together
from tests.helpers.runners import (
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
)

OPTIONS = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion=dict(type='ProsPr', steps=1, lr=0.01),
    sd_loss=dict(type='CSKDLoss'),
    draws=5,
    allow_empty_layers=True,
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('set') / 'pictures')


def cfg_of(pictures, folder, **options):
    cfg = tiny_classifier_cfg(
        pictures, folder, OPTIONS | options, 1, 'ClassPairBatchSampler'
    )
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


def train(rank, port, world, after, pictures, folder, options):
    """One process of a job.

    The first is killed when a ledger was written after so many draws or
    turns; ``None`` lets it train to the end.
    """
    join(rank, port, world)
    ledger_file._SHARE = math.inf  # write after each one
    keep, left = LedgerFile.keep, iter(range(1, after or 0))

    def keep_and_die(self, ledger):
        keep(self, ledger)
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    if after is not None:
        LedgerFile.keep = keep_and_die
    cfg = cfg_of(pictures, folder, **options)
    runner = runner_of(cfg) if world == 1 else distributed(cfg)
    runner.train()


def killed(world, after, pictures, folder, **options):
    """A job of so many processes that is killed, see :func:`train`."""
    with pytest.raises(ProcessExitedException) as e:
        together(train, world, world, after, pictures, folder, options)
    assert e.value.signal_name == 'SIGKILL'
    assert not (folder / 'epsd').exists()


def left_by(folder):
    """What a run has found and what it has made of it."""
    report = json.loads((folder / 'epsd' / 'report.json').read_text())
    for name in ('seconds', 'peak_memory'):
        report.pop(name)
    weights = torch.load(folder / 'epoch_1.pth', weights_only=False)
    last = max(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in last.read_text().splitlines()]
    return dict(
        masks=Masks.load(folder / 'epsd' / 'masks.pth'),
        report=report,
        losses=[line['loss'] for line in lines if 'loss' in line],
        weights={n: t.tolist() for n, t in weights['state_dict'].items()},
    )


def test_it_ends_as_an_uninterrupted_one(pictures, tmp_path):
    """Also in what is reported, and in the training that follows."""
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    runner_of(cfg_of(pictures, whole, compare_plain=True)).train()
    killed(2, 1, pictures, parts, compare_plain=True)
    # Three more draws, and two of the next search.
    killed(1, 5, pictures, parts, compare_plain=True)
    made, _, _ = go_on(cfg_of(pictures, parts, compare_plain=True), train=True)
    assert made == 3 * 5 - (2 + 3 + 2)
    assert left_by(parts) == left_by(whole)
    assert len(left_by(whole)['losses']) == 6
    assert not (parts / 'scoring').exists()


def test_it_goes_on_with_more_processes(pictures, tmp_path):
    killed(1, 1, pictures, tmp_path)
    together(train, 2, 2, None, pictures, tmp_path, {})
    _, _, masks = go_on(cfg_of(pictures, tmp_path / 'alone'))
    assert masks == Masks.load(tmp_path / 'epsd' / 'masks.pth')


def go_on(cfg, change=None, train=False):
    """Draws that were made, what was logged of ledgers, and the masks."""
    runner = runner_of(cfg) if train else prepared(cfg)
    lines, watch = [], logging.Handler()
    if change:
        change(runner)
    watch.emit = lambda record: lines.append(record.getMessage())
    runner.logger.addHandler(watch)
    try:
        runner.train() if train else hook_of(runner).before_train(runner)
    finally:
        runner.logger.removeHandler(watch)
    steps = [line for line in lines if line.startswith('scoring: draw ')]
    made = len(list(groupby(line.split(',')[0] for line in steps)))
    told = [line for line in lines if 'scoring.pth' in line]
    return made, told, hook_of(runner).masks


@pytest.fixture
def broken_off(pictures, tmp_path, monkeypatch):
    """The folder of a run that was broken off after two draws."""
    monkeypatch.setattr(ledger_file, '_SHARE', math.inf)
    keep, left = LedgerFile.keep, iter(range(1))

    def keep_two(self, ledger):
        keep(self, ledger)
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(LedgerFile, 'keep', keep_two)
        go_on(cfg_of(pictures, tmp_path))
    return tmp_path


def test_it_says_how_many_draws_there_were(broken_off, pictures):
    draft = broken_off / 'scoring' / '.scoring.pth.0123abcd.draft'
    draft.write_bytes(b'what a kill has left')
    made, told, _ = go_on(cfg_of(pictures, broken_off))
    assert made == 3
    (line,) = told
    assert 'holds 2 draws' in line
    assert not (broken_off / 'scoring').exists()


def change_a_weight(runner):
    runner.model.head.fc.weight.data[0, 0] += 1e-6


@pytest.mark.parametrize(
    'change, options, other',
    [
        (change_a_weight, {}, 'weights'),
        (None, dict(seed=1), 'settings'),
    ],
    ids=['weight', 'seed'],
)
def test_anything_else_begins_anew(
    broken_off, pictures, change, options, other
):
    made, told, masks = go_on(cfg_of(pictures, broken_off, **options), change)
    assert made == 5
    (line,) = told
    assert f'of a scoring with other {other}, and not used' in line
    fresh = cfg_of(pictures, broken_off / 'fresh', **options)
    assert masks == go_on(fresh, change)[2]


def test_an_error_after_all_draws_costs_no_draw(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(ledger_file, '_SHARE', math.inf)
    options = dict(sparsity=0.99, allow_empty_layers=False)
    with pytest.raises(ValueError, match='leaves nothing'):
        go_on(cfg_of(pictures, tmp_path, **options))
    options['allow_empty_layers'] = True
    assert go_on(cfg_of(pictures, tmp_path, **options))[0] == 0
