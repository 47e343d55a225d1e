"""A cell that prunes channels trains the network that is left."""

import json
import os

import pytest
import torch
from mmengine.config import Config

from epsd_mm.benchmark import saved_weights
from epsd_mm.benchmark.cell import UnfairError, run
from epsd_mm.benchmark.compact_cell import (
    figures_of,
    made_compact,
    removes_channels,
)
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.early_pruning import WORK
from epsd_mm.training import StartError
from tests.helpers.cells import made

from ..helpers.runners import tiny_detector_cfg
from ..helpers.suites import suite_of

UNITS = dict(type='channels', of='weights', multiple_of=1)
SNIP = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='SNIP',
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
    allocation='uniform',
)


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    """Cells of a detector of few channels: dense, with zeros, with units."""
    folder = tmp_path_factory.mktemp('suite')
    generate_voc(folder, train=8, test=4, size=64)
    cfg = tiny_detector_cfg(folder / 'VOCdevkit', folder / 'of', SNIP)
    for name in ('work_dir', 'experiment_name'):
        cfg.pop(name)
    # As mmdet has it: a process has one visualizer of a name.
    cfg.visualizer.name = 'visualizer'
    test = dict(cfg.train_dataloader.dataset)
    load, boxes, _, pack = test['pipeline']
    resize = dict(type='Resize', scale=(64, 64))
    test['pipeline'] = [load, resize, boxes, pack]
    loader = dict(batch_size=1, num_workers=0, dataset=test)
    evaluator = dict(type='VOCDetectionMetric')
    for kind in ('val', 'test'):
        cfg[f'{kind}_dataloader'] = loader
        cfg[f'{kind}_evaluator'] = evaluator
        cfg[f'{kind}_cfg'] = dict()
    cfg.custom_hooks = []
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, epsd=SNIP)
    cfg.dump(folder / 'detector.py')
    units = {'default_hooks.epsd.structure': UNITS}
    methods = dict(
        dense=dict(variant='dense'),
        zeros=dict(variant='prune-only'),
        units=dict(variant='prune-only', options=units),
    )
    suite = suite_of(
        folder,
        methods,
        seeds=1,
        sparsities=[0.5],
        config=str(folder / 'detector.py'),
        metric='pascal_voc/mAP',
    )
    return {cell.method.name: cell for cell in suite.cells}


@pytest.fixture(scope='module')
def finished(cells, tmp_path_factory):
    """The folder of the cell with units, which has run."""
    cell = cells['units']
    folder = made(cell, tmp_path_factory.mktemp('cells'))
    run(folder)
    return folder


def weights(folder):
    path = (folder / 'last_checkpoint').read_text()
    return torch.load(path, weights_only=False)['state_dict']


def test_only_units_of_channels_make_a_cell_compact(cells):
    asked = {name: removes_channels(c.config) for name, c in cells.items()}
    assert asked == dict(dense=False, zeros=False, units=True)


def test_the_trained_network_is_the_smaller_one(finished, cells):
    small = Config.fromfile(finished / 'pruned' / 'config.py')
    assert small.model.type == 'Compact'
    start = torch.load(finished / 'pruned' / 'init.pth', weights_only=False)[
        'state_dict'
    ]
    end = weights(finished)
    assert {n: v.shape for n, v in end.items()} == {
        n: v.shape for n, v in start.items()
    }
    assert any(not torch.equal(end[n], start[n]) for n in start)
    whole = cells['units'].config.model.backbone
    assert end['backbone.layer4.0.conv1.weight'].shape[0] < (
        whole.base_channels * 8
    )


def test_its_result_has_metric_scoring_and_units(finished):
    metrics, _ = read_result_file(finished)
    assert 'metric/pascal_voc/mAP' in metrics
    assert metrics['scoring/time'][0] > 0
    assert 0 < metrics['saved/units'][0] < 1
    assert metrics['training/epoch_time'][0] > 0


def test_it_goes_on_without_scoring_anew(finished, monkeypatch):
    def score(*args):
        raise AssertionError('scored again')

    monkeypatch.setattr(
        'epsd_mm.benchmark.scored_apart.prune_before_training', score
    )
    before = (finished / 'pruned' / 'init.pth').stat().st_mtime_ns
    (finished / 'result.json').unlink()
    os.remove((finished / 'last_checkpoint').read_text())
    run(finished)
    assert (finished / 'pruned' / 'init.pth').stat().st_mtime_ns == before
    assert 'metric/pascal_voc/mAP' in read_result_file(finished)[0]


def test_a_network_that_is_not_as_narrow_is_unfair(
    finished, cells, monkeypatch
):
    cfg = cells['units'].config
    cfg.work_dir = str(finished)
    state = dict(weights(finished))
    name = 'backbone.layer4.0.conv1.weight'
    state[name] = torch.zeros(32, 16, 3, 3)
    with pytest.raises(ValueError, match=f'{name} is of shape'):
        figures_of(cfg, finished, state)

    def wide(path, device):
        return dict(state_dict=state)

    monkeypatch.setattr(saved_weights, 'load_values', wide)
    with pytest.raises(UnfairError, match=name):
        saved_weights.figures_of_saved(cfg)


@pytest.mark.parametrize('kind', ['channels', 'neurons'])
def test_another_budget_than_was_asked_is_unfair(kind, finished, cells):
    cfg = cells['units'].config
    cfg.default_hooks.epsd.sparsity = 0.7
    cfg.default_hooks.epsd.structure.type = kind
    said = f"where 0.3000 was asked.*'{kind}', of='weights', multiple_of="
    with pytest.raises(ValueError, match=said):
        figures_of(cfg, finished, weights(finished))
    # And it is told before the first step.
    cfg.work_dir = str(finished)
    with pytest.raises(StartError, match=said):
        made_compact(cfg, whole=False)


def test_multiply_adds_are_those_of_the_saved_shapes(finished):
    metrics, _ = read_result_file(finished)
    done = metrics['saved/multiply_adds'][0]
    whole = metrics['saved/dense_multiply_adds'][0]
    # The first layer, by hand: stride 2 over images of 64x64 pixels.
    work = json.loads((finished / 'pruned' / WORK).read_text())
    times = work['multiplications']
    assert times['backbone.conv1.weight'] == work['images'] * 32 * 32
    state = weights(finished)
    by_hand = sum(n * state[name].numel() for name, n in times.items())
    assert done == by_hand / work['images'] < whole
