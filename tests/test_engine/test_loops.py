"""The hook in other loops and runners than that of epochs."""

import pytest
import torch
from mmengine.runner import FlexibleRunner

from epsd_mm.datasets.drawn_voc import generate_voc
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    runner_of,
    tiny_detector_cfg,
)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=12, test=2, size=64, classes=CLASSES)


def by_iterations(data_root, folder, count):
    cfg = tiny_detector_cfg(data_root, folder)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=count)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=2
    )
    return cfg


def revived(hook, state):
    return any(state[n][~m].any() for n, m in hook.masks.items())


def test_a_loop_of_iterations_is_pruned_and_resumed(data_root, tmp_path):
    first = runner_of(by_iterations(data_root, tmp_path / 'first', 2))
    first.train()
    masks = hook_of(first).masks
    assert not revived(hook_of(first), first.model.state_dict())
    cfg = by_iterations(data_root, tmp_path / 'second', 4)
    cfg.load_from = str(tmp_path / 'first' / 'iter_2.pth')
    cfg.resume = True
    second = runner_of(cfg)
    second.train()
    assert second.iter == 4
    assert hook_of(second).masks == masks
    assert not (tmp_path / 'second' / 'epsd').exists(), 'it scored again'
    state = second.model.state_dict()
    assert not revived(hook_of(second), state)
    name = next(iter(masks))
    assert not torch.equal(state[name], first.model.state_dict()[name])


def test_averaged_weights_stay_sparse_when_resumed(data_root, tmp_path):
    def run(epochs, **changes):
        cfg = tiny_detector_cfg(data_root, tmp_path, epochs=epochs)
        cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
        cfg.update(changes)
        runner = runner_of(cfg)
        runner.train()
        return hook_of(runner)

    run(1)
    hook = run(2, resume=True)
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    ema = {k[7:]: v for k, v in saved['ema_state_dict'].items()}
    assert not revived(hook, saved['state_dict'])
    assert not revived(hook, ema)


def test_the_flexible_runner_prunes_and_trains(data_root, tmp_path):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    cfg.strategy = dict(type='SingleDeviceStrategy')
    cfg.runner_type = 'FlexibleRunner'
    runner = FlexibleRunner.from_cfg(cfg)
    runner.train()
    assert hook_of(runner).masks.sparsity == pytest.approx(0.8, abs=1e-3)
    assert not revived(hook_of(runner), runner.model.state_dict())
    assert 'train/loss_sd' in runner.message_hub.log_scalars
