"""Channels of mm models: found, scored by their gates, and taken out."""

import json

import pytest
import torch
from mmengine.logging import MMLogger

from epsd_mm.engine.scoring_job import ScoringJob, no_trace
from epsd_mm.engine.settings import Settings
from epsd_mm.structure import Channels
from tests.helpers.datasets import picture_folder
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
    tiny_faster_rcnn,
    tiny_retinanet,
)
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg

pytest.importorskip('torch_pruning')


def gate(layer, index, row):
    """Let what a layer emits be multiplied by a factor for each unit."""

    def multiply(module, inputs, output):
        axis = -1 if isinstance(module, torch.nn.Linear) else 1
        factors = output.new_ones(output.shape[axis])
        for unit, positions in enumerate(index):
            factors = factors.index_put(
                (positions,), row[unit].expand(len(positions))
            )
        shape = [1] * output.dim()
        shape[axis] = -1
        return output * factors.view(shape)

    return layer.register_forward_hook(multiply)


@pytest.mark.parametrize(
    'build, batch',
    [
        (tiny_classifier, classification_batch),
        (tiny_retinanet, detection_batch),
        (tiny_faster_rcnn, detection_batch),
    ],
)
def test_scores_are_derivatives_by_gates_in_the_network(build, batch):
    """Such as SNIP's, where one gate is on every layer that emits a unit."""
    settings = Settings.build(
        sparsity=0.3,
        criterion='SNIP',
        structure=dict(type='channels', multiple_of=1),
        seed=0,
    )
    logger = MMLogger.get_current_instance()
    data = batch()
    with no_trace(torch.device('cpu')):
        job = ScoringJob(build(), lambda draw: [data], settings, logger)
        objective = job.objective(1.0, 0.0)
        torch.manual_seed(1)
        got = job.criterion.scores(
            objective, job.params, job.prunable, iter([[data]])
        )
        gates, hooks = {}, []
        for name, group in job.units.groups.items():
            gates[name] = torch.ones(group.units, requires_grad=True)
            emitting = {
                member.layer: member.index
                for member in group.members
                if member.role == 'norm'
                or (member.role == 'producer' and not member.normalised)
            }
            for layer, index in emitting.items():
                module = job.twin.get_submodule(layer)
                hooks.append(gate(module, index, gates[name]))
        torch.manual_seed(1)
        loss, _ = objective.record(job.params, data)
        want = torch.autograd.grad(loss, list(gates.values()))
    assert len(gates) > 3
    largest = max(float(row.abs().max()) for row in want)
    for name, row in zip(gates, want):
        assert torch.allclose(got[name], row.abs(), atol=1e-4 * largest)


@pytest.fixture(scope='module')
def pruned(tmp_path_factory):
    """A classifier that EPSD has taken channels out of."""
    root = tmp_path_factory.mktemp('pruned')
    epsd = dict(
        type='EPSDHook',
        sparsity=0.4,
        structure=dict(type='channels', multiple_of=2),
        allocation=dict(type='global', min_density=0.2),
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        sd_loss=dict(type='CSKDLoss'),
        draws=1,
        compare_plain=True,
    )
    cfg = tiny_classifier_cfg(
        picture_folder(root / 'pictures'),
        root / 'run',
        epsd,
        sampler='ClassPairBatchSampler',
    )
    runner = runner_of(cfg)
    runner.train()
    return root / 'run', runner


def test_epsd_on_channels(pruned):
    work_dir, runner = pruned
    report = json.loads((work_dir / 'epsd' / 'report.json').read_text())
    channels = Channels.load(work_dir / 'epsd' / 'channels.pth')
    assert 0.4 <= report['sparsity'] < 0.5
    assert 0 < report['overlap_with_plain'] <= 1
    assert all(int(row.sum()) % 2 == 0 for row in channels.values())
    assert hook_of(runner).masks.sparsity == report['sparsity']
    assert 'head.fc' in report['whole']


def test_a_trained_network_with_channels_removed_does_without(pruned):
    """Whatever is put in their place, the outputs stay."""
    work_dir, runner = pruned
    channels = Channels.load(work_dir / 'epsd' / 'channels.pth')
    model = runner.model.eval()
    data = model.data_preprocessor(classification_batch(size=16), False)
    with torch.no_grad():
        before = model(**data, mode='tensor')
    units = hook_of(runner)._units
    torch.manual_seed(0)
    params = dict(model.named_parameters())
    for name, group in units.groups.items():
        for member in group.members:
            if member.role == 'consumer':
                gone = member.index[~channels[name]].flatten()
                weight = params[member.name].data.movedim(member.axis, 0)
                weight[gone] = torch.randn_like(weight[gone])
    with torch.no_grad():
        assert torch.equal(model(**data, mode='tensor'), before)
