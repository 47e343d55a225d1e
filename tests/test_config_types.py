"""Types of configs: names, scopes, paths, classes, imports yet to be made."""

import copy

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject
from mmengine.registry import HOOKS

from epsd_mm.config_types import (
    epsd_hook,
    find_hook,
    policy_of,
    scope_of,
    type_name,
    with_all_channels,
)
from epsd_mm.datasets.samplers import ClassPairBatchSampler
from epsd_mm.distillation import CSKDLoss
from epsd_mm.engine import EPSDHook
from epsd_mm.engine.variants import VARIANTS, apply_sd_loss, apply_variant
from epsd_mm.policies import Fixed, RigL
from epsd_mm.pruning import ProsPr
from epsd_mm.registry import build_criterion, build_sd_loss

SPELLINGS = [
    'EPSDHook',
    'mmengine.EPSDHook',
    'mmdet.EPSDHook',
    'epsd_mm.engine.EPSDHook',
    'epsd_mm.engine.hooks.EPSDHook',
    'epsd_mm.engine.hooks.epsd_hook.EPSDHook',
    EPSDHook,
    LazyObject('epsd_mm.engine', 'EPSDHook'),
    LazyObject('epsd_mm').engine.EPSDHook,
]
spelt = pytest.mark.parametrize('kind', SPELLINGS, ids=str)


@spelt
@pytest.mark.parametrize('config', [dict, ConfigDict])
def test_the_class_is_named_however_it_is_spelt(kind, config):
    assert type_name(config(type=kind)) == 'EPSDHook'


@pytest.mark.parametrize('config', [None, {}, 'EPSDHook', EPSDHook], ids=str)
def test_what_is_no_config_has_no_type(config):
    assert type_name(config) == ''


@pytest.mark.parametrize(
    'policy, name',
    [
        (None, None),
        ('Fixed', None),
        (dict(type='epsd_mm.Fixed'), None),
        (Fixed(), None),
        ('RigL', 'RigL'),
        (dict(type=RigL, every=3), 'RigL'),
        (RigL(), 'RigL'),
    ],
)
def test_the_policy_is_named_where_masks_change(policy, name):
    hook = dict(type='EPSDHook', policy=policy)
    assert policy_of(dict(custom_hooks=[hook])) == name
    assert policy_of({}) is None


@spelt
@pytest.mark.parametrize('custom', [False, True])
def test_the_hook_is_found_among_others(kind, custom):
    hook = ConfigDict(type=kind, sparsity=0.5)
    cfg = Config(
        dict(
            default_hooks=dict(timer=None, logger=dict(type='LoggerHook')),
            custom_hooks=[
                dict(type='EMAHook'),
                HOOKS.build(dict(type='IterTimerHook')),
            ],
        )
    )
    if custom:
        cfg.custom_hooks.append(hook)
    else:
        cfg.default_hooks.epsd = hook
    hooks, place = find_hook(cfg, 'EPSDHook')
    assert hooks[place].sparsity == 0.5
    assert epsd_hook(cfg) is hooks[place]
    assert place == (2 if custom else 'epsd')
    assert find_hook(cfg, 'DenseHook') is None
    assert find_hook(Config(), 'EPSDHook') is None
    assert epsd_hook(Config()) is None


def config_of(kind, loss, sampler):
    return Config(
        dict(
            default_hooks=dict(
                epsd=dict(type=kind, sparsity=0.5, sd_loss=dict(type=loss))
            ),
            train_dataloader=dict(
                batch_size=4,
                batch_sampler=dict(
                    type=sampler, base=dict(type='AspectRatioBatchSampler')
                ),
            ),
        )
    )


PATHS = (
    'epsd_mm.engine.hooks.epsd_hook.EPSDHook',
    ('epsd_mm.distillation.losses.cs_kd.CSKDLoss'),
    'epsd_mm.datasets.samplers.class_pair.ClassPairBatchSampler',
)
CLASSES = EPSDHook, CSKDLoss, ClassPairBatchSampler
NAMES = 'EPSDHook', 'CSKDLoss', 'ClassPairBatchSampler'


@pytest.mark.parametrize('kinds', [CLASSES, PATHS], ids=['classes', 'paths'])
@pytest.mark.parametrize('name', VARIANTS)
def test_variants_of_classes_are_those_of_names(kinds, name):
    cfg, named = config_of(*kinds), config_of(*NAMES)
    apply_variant(cfg, name)
    apply_variant(named, name)

    def plain(part):
        if isinstance(part, dict):
            kind = {'type': type_name(part)} if 'type' in part else {}
            return {k: plain(v) for k, v in part.items()} | kind
        return part

    assert plain(cfg.to_dict()) == plain(named.to_dict())


@pytest.mark.parametrize('kinds', [CLASSES, PATHS], ids=['classes', 'paths'])
def test_another_loss_is_told_from_the_same_one(kinds):
    cfg = config_of(*kinds)
    before = copy.deepcopy(cfg.to_dict())
    apply_sd_loss(cfg, 'CSKDLoss')
    assert cfg.to_dict() == before
    apply_sd_loss(cfg, 'PSKDLoss')
    assert cfg.default_hooks.epsd.sd_loss == dict(type='PSKDLoss')
    assert type_name(cfg.train_dataloader.batch_sampler) == (
        'AspectRatioBatchSampler'
    )


def test_a_loss_may_be_a_name_alone():
    cfg = config_of(*NAMES)
    cfg.default_hooks.epsd.sd_loss = 'CSKDLoss'
    apply_sd_loss(cfg, 'CSKDLoss')
    assert cfg.default_hooks.epsd.sd_loss == 'CSKDLoss'
    apply_sd_loss(cfg, 'DLBLoss')
    assert cfg.default_hooks.epsd.sd_loss == dict(type='DLBLoss')


@pytest.mark.parametrize(
    'kind',
    [
        'mmengine.CSKDLoss',
        'mmdet.CSKDLoss',
        'epsd_mm.distillation.CSKDLoss',
        'epsd_mm.distillation.losses.cs_kd.CSKDLoss',
        CSKDLoss,
    ],
    ids=str,
)
def test_losses_are_built_however_they_are_spelt(kind):
    loss = build_sd_loss(dict(type=kind, temperature=2.0))
    assert type(loss) is CSKDLoss and loss.temperature == 2.0


@pytest.mark.parametrize(
    'kind', ['epsd_mm.pruning.criteria.prospr.ProsPr', ProsPr], ids=str
)
def test_criteria_are_too(kind):
    assert build_criterion(dict(type=kind, steps=1)).steps == 1


@pytest.mark.parametrize(
    'kind', ['torch.nn.Linear', 'no.such.thing', 'mmengine.ProsPro']
)
def test_other_paths_are_refused(kind):
    with pytest.raises(ValueError, match=f"unknown criterion '{kind}'"):
        build_criterion(kind)


def test_the_scope_is_that_of_the_config_or_of_its_model():
    from mmdet.models import FasterRCNN

    def scope(**parts):
        return scope_of(Config(parts))

    assert scope(default_scope='mmpretrain') == 'mmpretrain'
    assert scope(model=dict(type=FasterRCNN)) == 'mmdet'
    assert scope(model=dict(type='mmdet.models.FasterRCNN')) == 'mmdet'
    assert scope(model=dict(type='FasterRCNN')) is None
    assert scope() is None


@pytest.mark.parametrize('kind', ['Compact', 'mmengine.Compact'])
def test_a_compact_network_is_told_as_the_whole_one_wherever_it_is(kind):
    inner = dict(backbone=dict(type='ResNet', depth=18), stages=[dict(a=1)])
    compact = dict(
        type=kind,
        of='RetinaNet',
        channels=dict(version=1, layers={}),
        init_cfg=dict(type='Pretrained', checkpoint='init.pth'),
        **inner,
    )
    around = ConfigDict(type='DetTTAModel', module=compact, tta=[compact])
    before = copy.deepcopy(around)
    whole = dict(inner, type='RetinaNet')
    assert with_all_channels(compact) == whole
    assert with_all_channels(around) == dict(
        type='DetTTAModel', module=whole, tta=[whole]
    )
    assert around == before
    assert with_all_channels(whole) == whole
