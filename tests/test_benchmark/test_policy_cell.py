"""A cell whose masks change ends as sparse as was asked, and counts costs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epsd_mm.benchmark.cell import UnfairError, read_result_file, run
from epsd_mm.benchmark.saved_weights import figures_of_saved
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks
from epsd_mm.run_files import REPORT
from tests.helpers.cells import made
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import tiny_classifier_cfg
from tests.helpers.suites import suite_of

EPSD = dict(
    type='EPSDHook',
    sparsity=0.8,
    criterion=dict(type='SNIP'),
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
    allocation='uniform',
)


def options(name, **more):
    """A process has one visualizer of a name, and each cell a log."""
    return {'visualizer.name': f'of {name}', **more}


EVERY = {'default_hooks.epsd.policy.every': 1}
PLAIN = dict(variant='prune-only')
METHODS = dict(
    dense=dict(variant='dense', options=options('dense')),
    fixed=dict(PLAIN, options=options('fixed')),
    GMP=dict(PLAIN, policy='GMP', options=options('GMP', **EVERY)),
    RigL=dict(PLAIN, policy='RigL', options=options('RigL', **EVERY)),
)


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp('suite')
    pictures = picture_folder(folder / 'pictures')
    sampler = 'ClassPairBatchSampler'
    cfg = tiny_classifier_cfg(pictures, folder / 'of', EPSD, 1, sampler)
    for name in ('work_dir', 'experiment_name'):
        cfg.pop(name)
    backends = [dict(type='LocalVisBackend')]
    cfg.visualizer.vis_backends = backends
    cfg.val_dataloader = dict(cfg.train_dataloader, batch_sampler=None)
    cfg.val_evaluator, cfg.val_cfg = dict(type='Accuracy'), dict()
    cfg.dump(folder / 'classifier.py')
    suite = suite_of(
        folder,
        METHODS,
        seeds=1,
        sparsities=[0.8],
        config=str(folder / 'classifier.py'),
    )
    return {cell.method.name: cell for cell in suite.cells}


@pytest.fixture(scope='module')
def results(cells, tmp_path_factory):
    """Folder and metrics of cells that have run, by method."""
    found = {}
    for name, cell in cells.items():
        folder = made(cell, tmp_path_factory.mktemp('cells'))
        run(folder)
        metrics, _ = read_result_file(folder)
        found[name] = folder, {n: value for n, (value, _) in metrics.items()}
    return found


def test_each_is_as_sparse_as_was_asked(results):
    for name in ('fixed', 'GMP', 'RigL'):
        sparsity = results[name][1]['saved/sparsity']
        assert sparsity == pytest.approx(0.8, abs=1e-3)


def test_what_zeros_would_save_is_counted(results):
    share = {n: of['training/sparse_share'] for n, (_, of) in results.items()}
    assert share['dense'] == 1
    # Each layer at a fifth, whatever it multiplies by.
    assert share['fixed'] == pytest.approx(0.2, abs=0.01)
    # Six steps, the first at 1, the others along the schedule; end: 4.5.
    s = [0.8 * (1 - (1 - t / 4) ** 3) for t in range(5)]
    mean = sum(1 - x for x in [*s, s[-1]]) / 6
    assert share['GMP'] == pytest.approx(mean, abs=0.01)


def test_dense_gradients_of_rigl_are_counted(results):
    """Of 6 steps 4 are due, whose gradient, a third of a step, is dense.

    A layer keeps as many weights as ERK gives it in all of them; an entry
    multiplies at each of 8x8 places, in the second stage at 4x4.
    """
    folder, metrics = results['RigL']
    path = (folder / 'last_checkpoint').read_text()
    state = torch.load(path, weights_only=False)
    masks = SavedState.unpack(state['epsd']).masks

    def places(name):
        if name.startswith('head'):
            return 1
        return 4 * 4 if 'layer2' in name else 8 * 8

    def work(count):
        return sum(
            places(name) * count(name, weight)
            for name, weight in state['state_dict'].items()
            if weight.dim() > 1
        )

    whole = work(lambda name, weight: weight.numel())
    share = work(lambda name, _: int(masks[name].sum())) / whole
    assert metrics['training/sparse_share'] == pytest.approx(
        share + 4 / 6 * (1 - share) / 3
    )


def test_masks_that_did_not_get_there_fail_the_cell(results, cells):
    folder, _ = results['GMP']
    cfg = cells['GMP'].config
    cfg.work_dir = str(folder)
    cfg.default_hooks.epsd.sparsity = 0.9
    with pytest.raises(UnfairError, match='0.7999.*sparsity 0.9.*policy end'):
        figures_of_saved(cfg)


@pytest.fixture
def fixed(results, cells, tmp_path):
    """A copy of the cell whose masks were scored, and its config."""
    folder = shutil.copytree(results['fixed'][0], tmp_path / 'fixed')
    path = folder / Path((folder / 'last_checkpoint').read_text()).name
    (folder / 'last_checkpoint').write_text(str(path))
    cfg = cells['fixed'].config
    cfg.work_dir = str(folder)
    assert figures_of_saved(cfg)['saved/sparsity'].value > 0.79
    return cfg, path


def changed(path, reported, revive=False):
    """Keep one more weight of the first layer that has lost some."""
    checkpoint = torch.load(path, weights_only=False)
    saved = SavedState.unpack(checkpoint['epsd'])
    masks = {name: mask.clone() for name, mask in saved.masks.items()}
    name = next(name for name, mask in masks.items() if not mask.all())
    lost = tuple((~masks[name]).nonzero()[0])
    if revive:
        checkpoint['state_dict'][name][lost] = 0.5
    else:
        masks[name][lost] = True
    masks = Masks(masks)
    checkpoint['epsd'] = replace(saved, masks=masks).pack()
    torch.save(checkpoint, path)
    if reported:
        file = path.parent / REPORT
        report = json.loads(file.read_text())
        report['kept'] = masks.kept
        report['layers'][name]['kept'] += 1
        file.write_text(json.dumps(report))
    return name


def test_a_removed_weight_that_came_back_fails_the_cell(fixed):
    cfg, path = fixed
    changed(path, reported=False, revive=True)
    with pytest.raises(UnfairError, match='1 of the removed weights'):
        figures_of_saved(cfg)


def test_masks_of_another_scoring_fail_the_cell(fixed):
    cfg, path = fixed
    name = changed(path, reported=False)
    with pytest.raises(UnfairError, match=f'weights of {name}, and scoring'):
        figures_of_saved(cfg)


def test_one_weight_more_than_asked_fails_the_cell(fixed):
    """Whatever scoring says that it had kept."""
    cfg, path = fixed
    changed(path, reported=True)
    with pytest.raises(UnfairError, match='and .* were asked'):
        figures_of_saved(cfg)


def test_masks_of_the_cell_are_those_in_force(results):
    folder, _ = results['RigL']
    path = (folder / 'last_checkpoint').read_text()
    state = torch.load(path, weights_only=False)
    assert state['epsd']['policy']['step'] == 6
