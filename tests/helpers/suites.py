"""Suites whose cells have not run: results are made up."""

import json
from dataclasses import replace

import torch

import epsd_mm
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.store import Entry
from epsd_mm.benchmark.suite import Suite
from epsd_mm.pruning import Masks

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')
METRIC = 'metric/accuracy/top1'


def suite_of(folder, methods, seeds=4, sparsities=(0.9,), claims=(), **setup):
    """Read a suite that is written for the occasion."""
    setup = dict(config=CONFIG, metric='accuracy/top1') | setup
    content = dict(
        title='A suite <of> tests',
        setups=dict(a=setup),
        methods=methods,
        sparsities=list(sparsities),
        seeds=list(range(seeds)),
        claims=list(claims),
    )
    path = folder / 'suite.py'
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in content.items()))
    return Suite.load(path)


def compared(suite, metrics, environment=None):
    """A comparison of cells that all are finished.

    Args:
        suite: The suite.
        metrics: Takes a cell, returns values by metric, without units.
        environment: What they ran with.
    """
    entries = {
        cell.key: Entry(
            *(cell.key, cell.name, cell.spec(), 'finished', None, 1, 0, 1),
            *(None, environment or dict(recipe_version=1)),
            {
                name: (value, '%' if name == METRIC else '1')
                for name, value in metrics(cell).items()
            },
        )
        for cell in suite.cells
    }
    return Comparison(suite, entries)


def with_environments(comparison, environment):
    """The same results, of cells that ran with something else.

    Args:
        comparison: Of them.
        environment: Takes a cell, returns what it ran with.
    """
    entries = {
        cell.key: replace(entry, environment=environment(cell))
        for cell, entry in comparison.finished
    }
    return Comparison(comparison.suite, entries)


def lay_masks(cells, cell, kept, shape=(4, 25), layers=('conv', 'fc')):
    """Write the masks of a cell: by layer, the indices that are kept."""
    masks = {}
    for layer in layers:
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        mask[list(kept.get(layer, ()))] = True
        masks[f'backbone.{layer}.weight'] = mask.view(shape)
    folder = cells / cell.key / 'epsd'
    folder.mkdir(parents=True, exist_ok=True)
    Masks(masks).save(folder / 'masks.pth')


def lay_log(cells, cell, losses):
    """Write the log of a cell: the self-distillation term by iteration."""
    folder = cells / cell.key / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [
        json.dumps(dict(loss=1.0, loss_sd=value, time=0.1, iter=i, step=i))
        for i, value in losses.items()
    ]
    (folder / 'scalars.json').write_text('\n'.join(lines))
