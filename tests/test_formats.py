"""Files that earlier versions wrote are read as what they were.

``tests/formats`` holds one file of each version of each format, named
``<format>_<version>``, that the code of its time has written: a change of a
format adds a file there and a case here, and takes none away.
"""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from epsd_mm.analysis import read_report, report_file
from epsd_mm.benchmark import export, store
from epsd_mm.compaction import WidthTable, width_table
from epsd_mm.deploy import export_report, run
from epsd_mm.digest import digest
from epsd_mm.distillation import History, Observation, Previous
from epsd_mm.engine import saved_state
from epsd_mm.engine.identity import check_identity
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings
from epsd_mm.policies import RigL
from epsd_mm.policies.mask_updates import MaskUpdates
from epsd_mm.pruning import MaskKeeper, Masks, masks
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

OF_CHANNELS = dict(
    PRUNED,
    sparsity=0.4,
    structure=dict(type='channels', multiple_of=1),
    allocation=dict(type='global', min_density=0.25),
    allow_empty_layers=False,
)

#: Of the images a and b, when the states of teachers were saved.
LOGITS = torch.tensor([[1.5410, -0.2934, -2.1788], [0.5684, -1.0845, -1.3986]])


def state_of(name):
    """What a file of a checkpoint's state holds."""
    return SavedState.unpack(load_values(FORMATS / name))


def of_images(*keys):
    """An observation of one row a key."""
    n = len(keys)
    return Observation(
        torch.zeros(n, 3),
        torch.zeros(n, dtype=torch.long),
        torch.full((n,), 1 / n),
        torch.arange(n),
        list(keys),
    )


def stored(name):
    """Versions of a format of which there is a file."""
    pattern = re.compile(rf'{name}_(\d+)\.\w+')
    matches = map(pattern.fullmatch, (p.name for p in FORMATS.iterdir()))
    return {int(match[1]) for match in matches if match}


@pytest.mark.parametrize('version', [0, 1, 2])
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
        (1, OF_CHANNELS),
        (2, OF_CHANNELS),
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


def test_a_history_goes_on_from_its_checkpoint():
    state = state_of('epsd_2_history.pth')
    history = History()
    history.load_state_dict(state.teacher)
    rows, found = history.recall(of_images('b', 'c', 'a'))
    assert found.tolist() == [True, False, True]
    wanted = LOGITS[[1, 0]].softmax(1)
    torch.testing.assert_close(rows[found], wanted, atol=1e-3, rtol=0)
    assert state.training_set == 'images'


def test_a_previous_step_goes_on_from_its_checkpoint():
    previous = Previous()
    previous.load_state_dict(state_of('epsd_2_previous.pth').teacher)
    rows, found = previous.recall(of_images('b', 'c', 'a'))
    assert found.tolist() == [True, False, True]
    torch.testing.assert_close(rows[found], LOGITS[[1, 0]], atol=1e-4, rtol=0)


def test_a_policy_goes_on_from_its_checkpoint():
    state = state_of('epsd_2_rigl.pth')
    (width, inputs), (classes, _) = (m.shape for m in state.masks.values())
    net = nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes)
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    keeper = MaskKeeper(net, state.masks)
    keeper.watch(optimizer)
    updates = MaskUpdates(keeper, RigL(every=3), optimizer, 24)
    updates.load_state_dict(state.policy)
    assert (updates.moment.step, updates.moment.seed) == (10, 5)
    assert updates.kept_steps == {'0.weight': 160, '2.weight': 110}


@pytest.mark.parametrize('newer', [3, '2', torch.tensor([2, 2])])
def test_what_a_later_version_wrote_is_refused_by_both_versions(
    newer, tmp_path
):
    layers = torch.load(FORMATS / 'masks_2.pth', weights_only=True)
    for layer in layers.values():
        layer['version'] = newer
    torch.save(layers, tmp_path / 'masks.pth')
    state = dict(load_values(FORMATS / 'epsd_2.pth'), version=newer, new=1)
    for read in (
        lambda: Masks.load(tmp_path / 'masks.pth'),
        lambda: SavedState.unpack(state),
    ):
        with pytest.raises(ValueError) as error:
            read()
        said = str(error.value)
        assert f'of version {newer!r}' in said and 'versions up to 2' in said
        assert 'with the version of epsd_mm that wrote' in ' '.join(
            said.split()
        )


def test_what_keys_of_scorings_are_made_of_has_no_version():
    """Or runs that were begun with earlier versions would not be found."""
    stored = torch.load(FORMATS / 'masks_1.pth', weights_only=True)
    packed = Masks.load(FORMATS / 'masks_2.pth').pack()
    assert digest(packed) == digest(stored)


def test_results_of_a_suite():
    (entry,) = export.read_json(FORMATS / 'results_1.json').values()
    assert entry.name == 'cifar10_16px/dense/seed 0'
    assert entry.metrics['metric/accuracy/top1'] == (58.366668701171875, '%')


def test_a_report_of_an_export(tmp_path):
    shutil.copy(
        FORMATS / 'export_report_1.json', tmp_path / export_report.REPORT
    )
    report = export_report.read_export_report(tmp_path)
    assert report['file'] == 'model.onnx'
    assert report['metadata']['precision'] == 'int8'
    assert report['comparison']['file']['score'] < 1e-4
    found, of = report['found_again_in_int8']
    assert 0 < found <= of and report['calibrated_by'] > 0


def test_the_store_of_a_suite_goes_on(tmp_path):
    path = shutil.copy(FORMATS / 'store_1.sqlite', tmp_path)
    opened = store.Store(path)
    opened.check()
    done, failed, waiting = opened.entries().values()
    assert (done.state, done.name) == ('finished', 'cifar10_16px/dense/seed 0')
    assert done.metrics.pop('metric/accuracy/top1') == (
        58.366668701171875,
        '%',
    )
    assert math.isnan(done.metrics['loss'][0])
    assert (failed.state, failed.attempts) == ('failed', 1)
    assert failed.error == 'RuntimeError: out of memory'
    assert waiting.spec['seed'] == 2
    assert opened.claim(opened.entries(), 'another') == waiting.key


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        ('masks', masks.VERSION),
        ('epsd', saved_state.VERSION),
        ('report', report_file.VERSION),
        ('exported', run.VERSION),
        ('channels', channels._VERSION),
        ('compact', width_table._VERSION),
        ('results', export.FORMAT),
        ('export_report', export_report.VERSION),
        ('store', store.SCHEMA_VERSION),
    ],
)
def test_each_version_up_to_the_one_that_is_written_is_here(name, written):
    first = min(stored(name))
    assert stored(name) == set(range(first, written + 1))
