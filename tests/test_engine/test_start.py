"""Scoring that starts from masks: what they remove stays removed."""

import re

import pytest
import torch

from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import (
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
)

HALF = dict(type='EPSDHook', sparsity=0.5, criterion='Random')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures'))


@pytest.fixture(scope='module')
def first(pictures, tmp_path_factory):
    """The file of masks of a run that kept one half."""
    folder = tmp_path_factory.mktemp('first')
    runner = prepared(tiny_classifier_cfg(pictures, folder, HALF))
    hook_of(runner).before_train(runner)
    return str(folder / 'epsd' / 'masks.pth')


def pruned(pictures, folder, **options):
    """Initial weights by name, and the masks that come of them."""
    options = dict(type='EPSDHook', allow_empty_layers=True, **options)
    runner = prepared(tiny_classifier_cfg(pictures, folder, options))
    weights = {
        n: p.detach().clone() for n, p in runner.model.named_parameters()
    }
    hook_of(runner).before_train(runner)
    return weights, hook_of(runner).masks


def test_the_largest_of_what_is_left_are_kept(first, pictures, tmp_path):
    weights, masks = pruned(
        pictures, tmp_path, sparsity=0.8, criterion='Magnitude', start=first
    )
    start = Masks.load(first)
    assert masks & start == masks
    left = torch.cat([weights[n][m].abs() for n, m in start.items()])
    count = round(0.2 * start.total)
    threshold = left.sort(descending=True).values[count - 1]
    for name, mask in masks.items():
        assert torch.equal(
            mask, start[name] & (weights[name].abs() >= threshold)
        )


@pytest.mark.parametrize(
    'criterion', ['SNIP', dict(type='IterSNIP', rounds=3)], ids=str
)
def test_scores_are_of_what_is_left(criterion, first, pictures, tmp_path):
    _, masks = pruned(
        pictures,
        tmp_path / 'a',
        sparsity=0.8,
        criterion=criterion,
        start=first,
        draws=1,
    )
    assert masks & Masks.load(first) == masks
    assert masks.kept == round(0.2 * masks.total)
    _, free = pruned(
        pictures, tmp_path / 'b', sparsity=0.8, criterion=criterion, draws=1
    )
    assert free & Masks.load(first) != free


def test_a_run_resumes_without_the_file(first, pictures, tmp_path):
    hook = dict(HALF, sparsity=0.7, start=first)
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'run', hook, epochs=2)
    runner_of(cfg).train()
    hook['start'] = str(tmp_path / 'gone.pth')
    cfg = tiny_classifier_cfg(pictures, tmp_path / 'again', hook, epochs=2)
    cfg.resume = True
    cfg.load_from = str(tmp_path / 'run' / 'epoch_1.pth')
    runner = runner_of(cfg)
    runner.train()
    assert hook_of(runner).masks.sparsity == pytest.approx(0.7, abs=1e-3)


def test_masks_that_are_sparser_than_asked_are_refused(first):
    settings = Settings.build(sparsity=0.4, start=first)
    with pytest.raises(ValueError, match='0.5, and sparsity=0.4 keeps more'):
        settings.read_start()


def test_masks_of_other_weights_are_refused(first, pictures, tmp_path):
    other = str(tmp_path / 'part.pth')
    Masks.load(first).part('backbone').save(other)
    with pytest.raises(ValueError, match='head.fc.weight: no mask'):
        pruned(pictures, tmp_path, sparsity=0.8, start=other)


REFUSED = {
    'start=3 must be the path of a file': dict(sparsity=0.5, start=3),
    'scoring starts from masks of all that it scores, so masks': dict(
        sparsity=0.5, start='a.pth', masks='b.pth'
    ),
    'is not to be left whole, so zero_layers': dict(
        sparsity=0.5, start='a.pth', zero_layers='dense'
    ),
    'FORCE lets weights come back': dict(
        sparsity=0.5, start='a.pth', criterion='FORCE'
    ),
    'policy=RigL lets weights come back': dict(
        sparsity=0.5, start='a.pth', policy='RigL'
    ),
    "structure='channels' scores the whole network": dict(
        sparsity=0.5, start='a.pth', structure='channels'
    ),
    "structure='neurons' scores the whole network": dict(
        sparsity=0.5, start='a.pth', structure='neurons'
    ),
    'criterion=None prunes nothing, so start': dict(
        criterion=None, sd_loss='CSKDLoss', start='a.pth'
    ),
    'nothing is scored, so start': dict(
        sparsity=0.5, policy='Gradual', start='a.pth'
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_what_has_no_effect_beside_it_is_refused(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Settings.build(**REFUSED[message])


def test_a_missing_file_is_named():
    settings = Settings.build(sparsity=0.5, start='nowhere.pth')
    with pytest.raises(FileNotFoundError, match="start='nowhere.pth'"):
        settings.read_start()
