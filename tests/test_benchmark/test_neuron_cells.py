"""Neurons of a trained network go in a suite, and the rest is fine-tuned."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from epsd_mm.analysis import read_report
from epsd_mm.benchmark.cell import run
from epsd_mm.benchmark.comparison import Arm, Comparison
from epsd_mm.benchmark.costs import total_passes
from epsd_mm.benchmark.result_file import read_result_file
from epsd_mm.benchmark.store import Entry
from epsd_mm.benchmark.suite import Suite
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.run_files import last_checkpoint
from tests.helpers.cells import made, one_thread

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
sys.path.insert(0, str(TOOLS))

from damage.tiny_suite import write_tiny_suite  # noqa: E402

WIDTH, HIDDEN, LAYERS = 16, 64, 2
VIT = f"""
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3
    ),
    backbone=dict(
        type='VisionTransformer', img_size=12, patch_size=4, drop_rate=0.0,
        arch=dict(
            embed_dims={WIDTH}, num_layers={LAYERS}, num_heads=2,
            feedforward_channels={HIDDEN},
        ),
    ),
    head=dict(
        type='VisionTransformerClsHead', num_classes=4, in_channels={WIDTH},
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01))
default_hooks['epsd'].update(
    exclude=['backbone.pos_embed'], allow_empty_layers=False
)
"""
METHODS = """
__neurons = {
    'default_hooks.epsd.structure': dict(type='neurons', multiple_of=1),
    'default_hooks.epsd.allocation': 'uniform',
    'optim_wrapper.optimizer.lr': 0.001,
}
methods = {
    'dense': dict(variant='dense'),
    'SDMPrune': dict(
        variant='prune-only', criterion='SDMPrune', weights_of='dense',
        options={**__neurons, 'default_hooks.epsd.batches_per_step': 3},
    ),
    'Magnitude': dict(
        variant='prune-only', criterion='Magnitude', weights_of='dense',
        options=__neurons,
    ),
}
sparsities = [0.2, 0.4]
"""
PRUNED = [(m, s) for m in ('SDMPrune', 'Magnitude') for s in (0.2, 0.4)]
FC1, FC2 = (f'backbone.layers.%d.ffn.layers.{i}' for i in ('0.0', '1'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A suite, and the folder of each of its cells, which have run."""
    folder = tmp_path_factory.mktemp('neurons')
    path = write_tiny_suite(folder, 1, 2, [])
    path.write_text(path.read_text() + METHODS)
    with open(folder / 'config.py', 'a') as text:
        text.write(VIT)
    suite, folders = Suite.load(path), {}
    with one_thread():
        for cell in suite.cells:
            work_dir = made(cell, folder)
            folders[cell.method.name, cell.sparsity] = work_dir
            run(work_dir)
    return suite, folders


def weights(path):
    return load_values(path)['state_dict']


def rows_in(part, whole):
    """Where the rows of a part are in the whole."""
    return [(whole == row).all(dim=1).nonzero().item() for row in part]


def prunable(state):
    """Weights of the network that multiply."""
    matrices = (v for n, v in state.items() if n.endswith('.weight'))
    return sum(v.numel() for v in matrices if v.dim() > 1)


@pytest.mark.parametrize('method, sparsity', PRUNED)
def test_each_layer_keeps_as_many_as_leave_the_weights(
    trained, method, sparsity
):
    """A neuron of every layer goes at a time, on both of its sides."""
    _, folders = trained
    whole = weights(last_checkpoint(folders['dense', None]))
    state = weights(last_checkpoint(folders[method, sparsity]))
    total, each = prunable(whole), LAYERS * 2 * WIDTH
    kept = HIDDEN - math.ceil(sparsity * total / each)
    for layer in range(LAYERS):
        assert state[f'{FC1 % layer}.weight'].shape == (kept, WIDTH)
        assert state[f'{FC1 % layer}.bias'].shape == (kept,)
        assert state[f'{FC2 % layer}.weight'].shape == (WIDTH, kept)
    found, _ = read_result_file(folders[method, sparsity])
    left = 1 - prunable(state) / total
    assert found['saved/sparsity'][0] == pytest.approx(left)
    assert found['saved/units'][0] == kept / HIDDEN


@pytest.mark.parametrize('method, sparsity', PRUNED)
def test_fine_tuning_starts_from_the_trained_weights(
    trained, method, sparsity
):
    """Bit for bit, and each neuron with both of its sides."""
    _, folders = trained
    whole = weights(last_checkpoint(folders['dense', None]))
    start = weights(folders[method, sparsity] / 'pruned' / 'init.pth')
    sides = set()
    for layer in range(LAYERS):
        first, second = f'{FC1 % layer}.weight', f'{FC2 % layer}.weight'
        bias = f'{FC1 % layer}.bias'
        kept = rows_in(start[first], whole[first])
        assert torch.equal(start[second], whole[second][:, kept])
        assert torch.equal(start[bias], whole[bias][kept])
        sides |= {first, second, bias}
    for name in start.keys() - sides:
        assert torch.equal(start[name], whole[name]), name
    end = weights(last_checkpoint(folders[method, sparsity]))
    assert not torch.equal(
        end['head.layers.head.weight'], whole['head.layers.head.weight']
    )


def test_scores_take_what_the_authors_give_for_a_sparsity(trained):
    _, folders = trained
    for sparsity, wanted in ((0.2, (0.4, 0.2)), (0.4, (0.1, 0.2))):
        path = folders['SDMPrune', sparsity] / 'pruned' / 'epsd'
        *_, last = read_report(path / 'report.json')['steps']
        assert (last['alpha'], last['temperature']) == wanted


def test_the_loss_of_the_task_alone_fine_tunes(trained):
    _, folders = trained
    (log,) = folders['SDMPrune', 0.4].glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert any('loss' in step for step in steps)
    assert not any('loss_sd' in step for step in steps)


def test_what_it_costs_is_that_of_the_whole_chain(trained):
    """The dense training, two rounds of scores, and what is left."""
    suite, folders = trained
    entries = {}
    for cell in suite.cells:
        folder = folders[cell.method.name, cell.sparsity]
        metrics, environment = read_result_file(folder)
        entries[cell.key] = Entry(
            *(cell.key, cell.name, cell.spec(), 'finished', None, 1, 0, 1),
            *(None, environment, metrics),
        )
    comparison = Comparison(suite, entries)
    metrics = entries[suite.cells[2].key].metrics
    done, whole = (
        metrics[f'saved/{name}multiply_adds'][0] for name in ('', 'dense_')
    )
    images = 2 * 6 * 8  # epochs, steps, and images of a step
    # The task's gradient twice; of the KL the teacher, and a gradient.
    scoring = 3 * 8 * (3 + 3 + 1 + 3)
    wanted = 3 * images + scoring + 3 * images * done / whole
    found = total_passes(comparison, Arm('pictures', 'SDMPrune', 0.4))
    assert found == {0: pytest.approx(wanted)}
    assert done < 0.7 * whole
