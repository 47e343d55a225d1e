"""One config of EPSD, and the runs it is compared with."""

import copy

import pytest
from mmengine.config import Config

import epsd_mm
from epsd_mm.engine.variants import (
    POLICIES,
    VARIANTS,
    apply_policy,
    apply_sd_loss,
    apply_variant,
)
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import hook_of, runner_of, tiny_classifier_cfg

VOC = epsd_mm.config_path('voc_faster_rcnn_epsd')
EPSD = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion=dict(type='ProsPr', steps=1, lr=0.01),
    sd_loss=dict(type='CSKDLoss', temperature=2.0),
    draws=2,
    exclude=['head.*'],
    compare_plain=True,
    allow_empty_layers=True,
)


def variant(cfg, name):
    cfg = copy.deepcopy(cfg)
    apply_variant(cfg, name)
    return cfg


@pytest.fixture
def cfg(tmp_path):
    pictures = picture_folder(tmp_path / 'pictures')
    return tiny_classifier_cfg(
        pictures, tmp_path / 'run', EPSD, 1, 'ClassPairBatchSampler'
    )


@pytest.mark.parametrize(
    'name, prunes, distils, scored_sd',
    [
        ('epsd', True, True, 1.0),
        ('simple-combination', True, True, 0.0),
        ('prune-only', True, False, 0.0),
        ('sd-only', False, True, 1.0),
    ],
)
def test_what_each_variant_does(name, prunes, distils, scored_sd, cfg):
    runner = runner_of(variant(cfg, name))
    runner.train()
    hook = hook_of(runner)
    assert (hook.masks is not None) == prunes
    if prunes:
        assert hook.masks.sparsity == pytest.approx(0.5, abs=1e-2)
        assert not [n for n in hook.masks if n.startswith('head.')]
    assert (hook.settings.sd_loss is not None) == distils
    assert hook.settings.sd == scored_sd
    scalars = runner.message_hub.log_scalars
    assert ('train/loss_sd' in scalars) == distils
    batch = next(iter(runner.train_dataloader))
    assert len(batch['inputs']) == (8 if distils else 4)


def test_dense_has_neither_hook_nor_partners(cfg):
    runner = runner_of(variant(cfg, 'dense'))
    names = [type(hook).__name__ for hook in runner.hooks]
    assert 'EPSDHook' not in names and 'DenseHook' in names
    assert len(next(iter(runner.train_dataloader))['inputs']) == 4


def test_everything_else_stays(cfg):
    for name in VARIANTS:
        other = variant(cfg, name)
        for key in ('model', 'optim_wrapper', 'train_cfg', 'randomness'):
            assert other[key] == cfg[key]
        assert other.train_dataloader.dataset == cfg.train_dataloader.dataset


def test_the_sampler_that_was_wrapped_comes_back():
    cfg = Config.fromfile(VOC)
    plain = variant(cfg, 'prune-only')
    assert plain.train_dataloader.batch_sampler == dict(
        type='AspectRatioBatchSampler'
    )
    assert plain.default_hooks.epsd.exclude == cfg.default_hooks.epsd.exclude
    kept = variant(cfg, 'simple-combination').train_dataloader.batch_sampler
    assert kept.type == 'ClassPairBatchSampler'


def test_a_dense_run_refuses_to_resume_a_pruned_one(cfg):
    runner_of(variant(cfg, 'simple-combination')).train()
    dense = variant(cfg, 'dense')
    dense.resume = True
    with pytest.raises(ValueError, match='this one is dense'):
        runner_of(dense).train()


def test_a_run_refuses_to_resume_another_variant(cfg):
    runner_of(cfg).train()
    other = variant(cfg, 'simple-combination')
    other.resume = True
    with pytest.raises(ValueError, match='trained with score_weights'):
        runner_of(other).train()


def test_fresh_halves_make_as_many_steps(cfg):
    cfg.default_hooks.epsd.sd_loss = dict(type='DLBLoss')
    cfg.train_dataloader.batch_sampler.type = 'OverlapBatchSampler'
    cfg.train_dataloader.batch_size = 8
    lengths = []
    for name in ('epsd', 'dense'):
        other = variant(cfg, name)
        other.experiment_name = other.visualizer.name = f'{name}-steps'
        lengths.append(len(runner_of(other).train_dataloader))
    assert lengths == [6, 6]


def test_a_dropped_last_batch_stays_dropped(cfg):
    cfg.train_dataloader.batch_sampler.drop_last = True
    assert variant(cfg, 'dense').train_dataloader.drop_last


def test_custom_hooks_work_too(cfg):
    cfg.custom_hooks = [dict(type='EMAHook'), cfg.default_hooks.pop('epsd')]
    dense = [dict(type='EMAHook'), dict(type='DenseHook')]
    assert variant(cfg, 'dense').custom_hooks == dense
    sd_only = variant(cfg, 'sd-only').custom_hooks[1]
    assert sd_only == dict(
        type='EPSDHook', sd_loss=EPSD['sd_loss'], criterion=None
    )


def test_unknown_variants_and_other_configs_are_refused(cfg):
    with pytest.raises(ValueError, match="variant='sparse' must be one of"):
        variant(cfg, 'sparse')
    cfg.default_hooks.epsd.sd_loss = None
    with pytest.raises(ValueError, match='made from a config of EPSD'):
        variant(cfg, 'dense')
    del cfg.default_hooks['epsd']
    with pytest.raises(ValueError, match='has no EPSDHook'):
        variant(cfg, 'dense')


def other_loss(cfg, name):
    cfg = copy.deepcopy(cfg)
    apply_sd_loss(cfg, name)
    return cfg


def test_another_loss_comes_with_the_batches_it_needs():
    cfg = Config.fromfile(VOC)
    base = ['AspectRatioBatchSampler']
    samplers = {
        'CSKDLoss': ['ClassPairBatchSampler', *base],
        'PSKDLoss': base,
        'DLBLoss': ['OverlapBatchSampler', *base],
        'KD': base,
    }
    for first in samplers:
        for second, names in samplers.items():
            other = other_loss(other_loss(cfg, first), second)
            sampler = other.train_dataloader.batch_sampler
            inner = [sampler.base.type] if 'base' in sampler else []
            assert [sampler.type, *inner] == names
            assert other.default_hooks.epsd.sd_loss.type == second
            assert (
                other.train_dataloader.batch_size
                == cfg.train_dataloader.batch_size
            )


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_variant_drops_the_same_boxes(variant, cfg):
    cfg.default_hooks.epsd.bad_boxes = 'drop'
    apply_variant(cfg, variant)
    assert cfg.default_hooks.epsd.bad_boxes == 'drop'


def test_the_loss_of_the_config_keeps_its_settings(cfg):
    assert other_loss(cfg, 'CSKDLoss').to_dict() == cfg.to_dict()
    assert other_loss(cfg, 'PSKDLoss').default_hooks.epsd.sd_loss == dict(
        type='PSKDLoss'
    )


@pytest.mark.parametrize('name', ['CSKDLoss', 'PSKDLoss', 'DLBLoss'])
def test_a_run_with_another_loss_distils(name, cfg):
    cfg.train_dataloader.batch_sampler.drop_last = True
    cfg.train_cfg.max_epochs = 2
    runner = runner_of(other_loss(cfg, name))
    runner.train()
    assert type(hook_of(runner).settings.sd_loss).__name__ == name
    assert runner.message_hub.get_scalar('train/loss_sd').current() != 0


def test_unknown_losses_and_plain_configs_are_refused(cfg):
    with pytest.raises(ValueError, match="unknown .*'KDLoss'; known are"):
        other_loss(cfg, 'KDLoss')
    cfg.default_hooks.epsd.sd_loss = None
    with pytest.raises(ValueError, match='no sd_loss to replace'):
        other_loss(cfg, 'DLBLoss')


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('name', ['prune-only', 'simple-combination', 'epsd'])
def test_a_policy_trains_with_any_variant_that_prunes(policy, name, cfg):
    if name == 'prune-only':
        cfg.default_hooks.epsd.zero_layers = 'dense'
    apply_policy(cfg, policy)
    changed = variant(cfg, name)
    changed.default_hooks.epsd.policy.every = 2  # of six steps
    runner = runner_of(changed)
    runner.train()
    hook = hook_of(runner)
    assert hook.masks.sparsity == pytest.approx(0.5, abs=1e-2)
    assert not [n for n in hook.masks if n.startswith('head.')]
    assert (hook.settings.sd_loss is None) == (name == 'prune-only')
    criterion = type(hook.settings.criterion).__name__
    assert criterion == ('NoneType' if policy == 'GMP' else 'Random')


def test_a_policy_takes_what_would_have_no_effect(cfg):
    apply_policy(cfg, 'GMP')
    hook = cfg.default_hooks.epsd
    assert hook.exclude == ['head.*'] and hook.allow_empty_layers
    assert 'draws' not in hook and 'compare_plain' not in hook


def test_an_unknown_policy_is_refused(cfg):
    with pytest.raises(ValueError, match='must be one of GMP, SET, RigL'):
        apply_policy(cfg, 'Gradual')
