"""Files that earlier versions wrote are read as what they were.

``tests/formats`` holds one file of each version of each format, named
``<format>_<version>``, that the code of its time has written: a change of a
format adds a file there and a case here, and takes none away.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from epsd_mm.analysis import read_report, report_file
from epsd_mm.benchmark import export
from epsd_mm.compaction import WidthTable, width_table
from epsd_mm.deploy import run
from epsd_mm.engine.identity import check_identity
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks
from epsd_mm.structure import Channels, channels

FORMATS = Path(__file__).parent / 'formats'
#: Settings of the runs that the files are of.
PRUNED = dict(
    sparsity=0.8,
    criterion=dict(type='ProsPr', steps=1, lr=1e-3),
    sd_loss=dict(type='CSKDLoss'),
    draws=1,
    allow_empty_layers=True,
)


def stored(name):
    """Versions of a format of which there is a file."""
    pattern = re.compile(rf'{name}_(\d+)\.\w+')
    matches = map(pattern.fullmatch, (p.name for p in FORMATS.iterdir()))
    return {int(match[1]) for match in matches if match}


@pytest.mark.parametrize('version', [0, 1])
def test_masks(version):
    masks = Masks.load(FORMATS / f'masks_{version}.pth')
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {
        'a.weight': [[0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 1, 1]],
        'b.weight': [1, 0, 0, 1, 1, 0, 0],
    }


def test_metadata_of_an_exported_file():
    assert stored('exported') == {run.VERSION}
    text = (FORMATS / 'exported_1.json').read_text()
    metadata = run.Metadata.from_json(text)
    assert metadata.task == 'detection'
    assert list(metadata.classes) == ['RBC', 'WBC', 'Platelets']
    assert (metadata.width, metadata.height, metadata.divisor) == (
        320,
        256,
        32,
    )
    assert (metadata.resize.mode, *metadata.resize.scale) == (
        *('keep_ratio', 320, 240),
    )
    assert metadata.compaction == 'channels removed'


def test_channels():
    assert Channels.load(FORMATS / 'channels_1.pth') == Channels(
        {
            '0': torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool(),
            '3': torch.tensor([1, 1, 1, 0]).bool(),
        }
    )


def test_widths_of_a_compact_network():
    spec = json.loads((FORMATS / 'compact_1.json').read_text())
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    WidthTable.from_config(spec).apply(net)
    assert [tuple(p.shape) for p in net.parameters()] == [
        *((5, 3, 3, 3), (5,)),  # convolution
        *((5,), (5,)),  # normalisation
        *((5, 5), (5,)),  # linear layer
    ]
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize('name', ['report_0', 'report_1'])
def test_reports(name):
    content = json.loads((FORMATS / f'{name}.json').read_text())
    report = read_report(FORMATS / f'{name}.json')
    assert report['version'] == int(name[-1])
    # What was called a pattern of channels were rows of single weights.
    assert content.pop('pattern') == dict(type='Channels')
    assert report['structure'] == dict(type='Rows')
    assert {key: report[key] for key in content} == content
    assert (report['kept'], report['total']) == (9868, 49396)
    layers = report['layers'].values()
    assert sum(layer['kept'] for layer in layers) == report['kept']


def test_a_report_of_channels():
    report = read_report(FORMATS / 'report_1_channels.json')
    units = report['channels'].values()
    assert sum(u['kept'] for u in units) < sum(u['total'] for u in units)


@pytest.mark.parametrize(
    ('version', 'settings'),
    [
        (0, dict(PRUNED, pattern='channels')),
        (0, dict(PRUNED, structure='rows')),
        (
            1,
            dict(
                PRUNED,
                sparsity=0.4,
                structure=dict(type='channels', multiple_of=1),
                allocation=dict(type='global', min_density=0.25),
                allow_empty_layers=False,
            ),
        ),
    ],
)
def test_what_a_checkpoint_says_of_its_run_lets_it_go_on(version, settings):
    state = SavedState.unpack(load_values(FORMATS / f'epsd_{version}.pth'))
    check_identity(Settings.build(**settings), state.identity)
    assert 0 < state.masks.kept < state.masks.total
    assert (state.channels is None) == (version == 0)
    state.random_state.restore()
    with pytest.raises(ValueError, match='draws'):
        check_identity(
            Settings.build(**settings | {'draws': 2}), state.identity
        )


def test_results_of_a_suite():
    (entry,) = export.read_json(FORMATS / 'results_1.json').values()
    assert entry.name == 'cifar10_16px/dense/seed 0'
    assert entry.metrics['metric/accuracy/top1'] == (58.366668701171875, '%')


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        ('report', report_file.VERSION),
        ('channels', channels._VERSION),
        ('compact', width_table._VERSION),
        ('results', export.FORMAT),
    ],
)
def test_each_version_up_to_the_one_that_is_written_is_here(name, written):
    first = min(stored(name))
    assert stored(name) == set(range(first, written + 1))
