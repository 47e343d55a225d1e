"""A run that was resumed ends as the one that was not interrupted."""

import pytest
import torch

from tests.helpers.datasets import picture_folder
from tests.helpers.runners import runner_of, tiny_classifier_cfg

PRUNED = dict(type='EPSDHook', sparsity=0.5, criterion='Random')
HOOKS = dict(
    dense=dict(type='DenseHook'),
    pruned=PRUNED,
    sd_only=dict(type='EPSDHook', criterion=None, sd_loss='PSKDLoss'),
    both=dict(PRUNED, sd_loss='PSKDLoss'),
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures'))


def last_checkpoint(pictures, work_dir, hook, resume_from=None):
    cfg = tiny_classifier_cfg(pictures, work_dir, dict(hook), epochs=3)
    cfg.val_dataloader = dict(
        cfg.train_dataloader,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    cfg.val_evaluator = dict(type='Accuracy')
    cfg.val_cfg = dict()
    if resume_from is not None:
        cfg.load_from, cfg.resume = str(resume_from), True
    runner_of(cfg).train()
    return torch.load(work_dir / 'epoch_3.pth', weights_only=False)


@pytest.mark.parametrize('hook', HOOKS.values(), ids=HOOKS)
def test_a_resumed_run_ends_as_the_uninterrupted_one(hook, pictures, tmp_path):
    whole = last_checkpoint(pictures, tmp_path / 'whole', hook)
    first = tmp_path / 'whole' / 'epoch_1.pth'
    resumed = last_checkpoint(pictures, tmp_path / 'resumed', hook, first)
    for name, weights in whole['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], weights), name


def test_a_dense_run_does_not_resume_a_pruned_one(pictures, tmp_path):
    last_checkpoint(pictures, tmp_path / 'pruned', PRUNED)
    first = tmp_path / 'pruned' / 'epoch_1.pth'
    dense = dict(type='DenseHook')
    with pytest.raises(ValueError, match='but this one is dense'):
        last_checkpoint(pictures, tmp_path / 'dense', dense, first)


def test_a_checkpoint_without_a_random_state_is_resumed(pictures, tmp_path):
    """As earlier versions, and plain mmengine, save them."""
    hook = dict(type='DenseHook')
    last_checkpoint(pictures, tmp_path / 'whole', hook)
    first = tmp_path / 'whole' / 'epoch_1.pth'
    checkpoint = torch.load(first, weights_only=False)
    checkpoint.pop('epsd')
    torch.save(checkpoint, first)
    last_checkpoint(pictures, tmp_path / 'resumed', hook, first)
