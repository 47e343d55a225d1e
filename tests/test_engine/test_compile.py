"""Self-distillation under mmengine's ``compile``."""

import pytest
import torch

from tests.helpers.datasets import picture_folder
from tests.helpers.models import tiny_classifier
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg
from tests.helpers.teachers import file_of

OPTIONS = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion=dict(type='ProsPr', steps=1, lr=0.01),
    draws=1,
    allow_empty_layers=True,
)
RUNS = [
    ('PSKDLoss', None),
    ('DLBLoss', 'OverlapBatchSampler'),
    ('CSKDLoss', 'ClassPairBatchSampler'),
    ('KD', None),
]


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('set') / 'pictures')


def trained(pictures, folder, loss, sampler, backend=None):
    """What two epochs leave: weights, and what the teacher remembers."""
    torch._dynamo.reset()
    options = dict(OPTIONS, sd_loss=dict(type=loss))
    if loss == 'KD':
        teacher = file_of(tiny_classifier(seed=5), folder.parent / 'teacher')
        options['sd_loss']['teacher'] = teacher
    cfg = tiny_classifier_cfg(pictures, folder, options, 2, sampler)
    if backend is not None:
        cfg.compile = dict(backend=backend)
    runner = runner_of(cfg)
    runner.train()
    compiled = backend is not None
    assert ('train_step' in vars(runner.model)) == compiled
    teacher = hook_of(runner)._distillation.teacher.state_dict()
    return runner.model.state_dict(), teacher


@pytest.mark.parametrize('loss, sampler', RUNS)
def test_a_compiled_model_trains_as_it_does_without(
    loss, sampler, pictures, tmp_path
):
    """This backend reorders no arithmetic."""
    plain = trained(pictures, tmp_path / 'plain', loss, sampler)
    weights, teacher = trained(
        pictures, tmp_path / 'compiled', loss, sampler, 'eager'
    )
    for name, value in weights.items():
        assert torch.equal(value, plain[0][name]), name
    assert teacher.keys() == plain[1].keys()
    for name, value in teacher.items():
        other = plain[1][name]
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other), name
        else:
            assert value == other, name
