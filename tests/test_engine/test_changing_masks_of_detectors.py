"""Masks that a policy changes in the training of a detector."""

import pytest
import torch
from mmengine.hooks import Hook

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.engine.saved_state import SavedState
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    runner_of,
    tiny_detector_cfg,
)

HOOKS = dict(
    Gradual=dict(
        type='EPSDHook',
        sparsity=0.8,
        allocation='uniform',
        policy=dict(type='Gradual', every=1, end=1.0),
    ),
    RigL=dict(
        type='EPSDHook',
        sparsity=0.8,
        criterion='Random',
        allocation='erk',
        policy=dict(type='RigL', every=1, end=1.0),
    ),
)
# s_t / s_f = 1 − (1 − t/4)³
REMOVED = [0.8 * (1 - (1 - t / 4) ** 3) for t in (1, 2, 3, 4)]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=8, test=2, size=64, classes=CLASSES)


class Watch(Hook):
    """After each iteration: the masks, and that what they remove is zero."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.masks = []

    def after_train_iter(self, runner, *unused, **more):
        masks = hook_of(runner).masks
        params = dict(runner.model.named_parameters())
        assert not any(params[n][~mask].any() for n, mask in masks.items())
        self.masks.append(masks)


def trained(data_root, work_dir, hook, resume_from=None):
    """Masks after each of four steps, in two epochs."""
    cfg = tiny_detector_cfg(data_root, work_dir, hook, epochs=2)
    if resume_from is not None:
        cfg.load_from, cfg.resume = str(resume_from), True
    runner, watch = runner_of(cfg), Watch()
    runner.register_hook(watch)
    runner.train()
    return watch.masks


@pytest.mark.parametrize('name', HOOKS)
def test_a_detector_is_counted_and_ends_alike_when_resumed(
    name, data_root, tmp_path
):
    hook = HOOKS[name]
    whole = trained(data_root, tmp_path / 'whole', hook)
    assert len(whole) == 4 and whole[0] != whole[1] != whole[2]
    for masks, removed in zip(whole, REMOVED):
        kept = {n: int(mask.sum()) for n, mask in masks.items()}
        if name == 'RigL':
            assert kept == {n: int(m.sum()) for n, m in whole[0].items()}
            continue
        for layer, count in kept.items():  # each of them as sparse
            assert count == pytest.approx(
                (1 - removed) * masks[layer].numel(), abs=1
            )
    middle = tmp_path / 'whole' / 'epoch_1.pth'
    assert trained(data_root, tmp_path / 'again', hook, middle) == whole[2:]
    first, second = (
        torch.load(tmp_path / run / 'epoch_2.pth', weights_only=False)
        for run in ('whole', 'again')
    )
    for weight, value in first['state_dict'].items():
        assert torch.equal(second['state_dict'][weight], value), weight
    states = [SavedState.unpack(each['epsd']) for each in (first, second)]
    assert states[0].policy == states[1].policy
    assert states[0].masks == states[1].masks == whole[-1]
