"""The configs that are shipped build what they say."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope
from torch import nn

import epsd_mm
from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.engine.pretrained import without_pretrained
from epsd_mm.engine.settings import described, settings_of
from epsd_mm.engine.variants import VARIANTS, apply_variant
from epsd_mm.families.observers import build_observer
from epsd_mm.pruning import Prunability, prunable_parameters
from epsd_mm.runs import Run

FOLDER = Path(epsd_mm.config_path('voc_faster_rcnn_epsd')).parent
ENTRIES = sorted(
    path for path in FOLDER.glob('*.py') if not path.name.startswith('demo')
)
CLASSIFIERS = [path for path in ENTRIES if not path.name.startswith('voc')]
DETECTORS = [path for path in ENTRIES if path.name.startswith('voc')]
# What the authors of each method say of their recipe.
RECIPES = dict(
    CSKDLoss=dict(lr=0.1, weight_decay=1e-4, nesterov=False, epochs=200),
    PSKDLoss=dict(lr=0.1, weight_decay=5e-4, nesterov=True, epochs=300),
    DLBLoss=dict(lr=0.05, weight_decay=5e-4, nesterov=True, epochs=240),
)
SAMPLERS = dict(
    CSKDLoss='ClassPairBatchSampler',
    PSKDLoss=None,
    DLBLoss='OverlapBatchSampler',
)


def ids(paths):
    return [path.stem for path in paths]


@pytest.mark.parametrize('path', ENTRIES, ids=ids(ENTRIES))
def test_an_entry_is_short_and_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith('# EPSD')


@pytest.mark.parametrize('path', CLASSIFIERS, ids=ids(CLASSIFIERS))
def test_a_classifier_is_built_with_its_hook_data_and_metrics(path):
    cfg = Config.fromfile(str(path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        hook = HOOKS.build(cfg.default_hooks.epsd)
        metrics = [METRICS.build(metric) for metric in cfg.val_evaluator]
    assert_variants_share_a_seed(cfg)
    classes = dict(cifar10=10, imagenet=1000, cifar100=100)
    wanted = classes.get(path.name.split('_')[0], 200)
    assert cfg.model.head.num_classes == wanted
    assert [type(m).__name__ for m in metrics] == ['Accuracy', 'Calibration']
    assert hook.settings.sparsity == 0.9
    assert len(prunable_parameters(model)) >= 10
    assert Prunability(model, None, hook.settings.exclude).unpruned() == []
    loss = type(hook.settings.sd_loss).__name__
    sampler = cfg.train_dataloader.get('batch_sampler')
    assert (sampler and sampler.type) == SAMPLERS[loss]
    assert 'batch_sampler' not in cfg


@pytest.mark.parametrize('path', DETECTORS, ids=ids(DETECTORS))
def test_a_detector_is_built_with_its_hook_data_and_metric(path):
    cfg = Config.fromfile(str(path))
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.pop('pretrained', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        hook = HOOKS.build(cfg.default_hooks.epsd)
    assert_variants_share_a_seed(cfg)
    # A glob without a weight to its name is refused.
    prunability = Prunability(model, None, hook.settings.exclude)
    assert len(prunability.prunable()) >= 10
    assert prunability.unpruned() == []
    heads = getattr(model, 'roi_head', model).bbox_head
    for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
        assert head.num_classes == 20
    cocofmt = 'cocofmt' in path.stem
    wanted = 'CocoMetric' if cocofmt else 'VOCDetectionMetric'
    assert cfg.val_evaluator.type == cfg.test_evaluator.type == wanted
    year = path.stem[3:5]
    lists = [leaf.ann_file for leaf in leaf_configs(train_set(cfg))]
    if cocofmt:
        assert lists == ['annotations/voc0712_trainval.json']
    elif year == '12':
        assert lists == ['VOC2012/ImageSets/Main/train.txt']
        assert cfg.test_evaluator.eval_mode == 'area'
    else:
        main = '/ImageSets/Main/trainval.txt'
        years = ('2007',) if year == '07' else ('2007', '2012')
        assert lists == [f'VOC{y}{main}' for y in years]
        assert cfg.test_evaluator.eval_mode == '11points'


def assert_variants_share_a_seed(cfg):
    """Without one in the config mmengine draws another for each run."""
    assert cfg.randomness['seed'] == 0


def test_the_demo_has_a_seed():
    assert_variants_share_a_seed(
        Config.fromfile(FOLDER / 'demo_faster_rcnn_epsd.py')
    )


def test_the_stages_of_the_cascade_are_those_of_mmdet():
    ours = Config.fromfile(epsd_mm.config_path('voc_cascade_rcnn_epsd')).model
    base = (
        files('mmdet') / '.mim/configs/_base_/models/cascade-rcnn_r50_fpn.py'
    )
    theirs = Config.fromfile(str(base)).model
    for head in theirs.roi_head.bbox_head:
        head.num_classes = 20
    for key in ('bbox_head', 'stage_loss_weights', 'num_stages', 'type'):
        assert unscoped(ours.roi_head[key]) == theirs.roi_head[key]
    assert unscoped(ours.train_cfg.rcnn) == theirs.train_cfg.rcnn
    assert ours.train_cfg.rpn_proposal == theirs.train_cfg.rpn_proposal
    assert ours.test_cfg == theirs.test_cfg


BCCD = [
    FOLDER / f'benchmarks/bccd_{name}.py'
    for name in ('faster_rcnn', 'fcos', 'rtmdet_tiny', 'yolox_tiny')
]


@pytest.mark.parametrize('path', BCCD, ids=ids(BCCD))
def test_a_detector_of_blood_cells_is_built_and_shows_its_objects(path):
    cfg = Config.fromfile(str(path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        hook = HOOKS.build(cfg.default_hooks.epsd)
    assert_variants_share_a_seed(cfg)
    prunability = Prunability(model, None, hook.settings.exclude)
    assert len(prunability.prunable()) >= 10
    assert prunability.unpruned() == []
    assert getattr(model, 'roi_head', model).bbox_head.num_classes == 3
    assert build_observer(model).of_objects
    # From scratch, for as many epochs as the learning rate falls.
    assert not cfg.model.backbone.get('init_cfg')
    assert cfg.param_scheduler.total_steps == cfg.train_cfg.max_epochs
    assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs
    assert hook.settings.bad_boxes == 'drop'


@pytest.mark.parametrize(
    'name, theirs, ours',
    [
        (
            'rtmdet_tiny',
            'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
            ['data_preprocessor', 'init_cfg', 'norm_cfg'],
        ),
        (
            'yolox_tiny',
            'yolox/yolox_tiny_8xb8-300e_coco.py',
            ['data_preprocessor'],
        ),
    ],
)
def test_a_model_of_ours_is_that_of_mmdet(name, theirs, ours):
    base = files('mmdet') / '.mim/configs' / theirs
    own = Config.fromfile(str(FOLDER / f'_base_/models/{name}.py')).model
    shipped = Config.fromfile(str(base)).model
    assert without(own, ours) == without(shipped, ours)


def without(config, names):
    if not isinstance(config, dict):
        return config
    kept = {k: v for k, v in config.items() if k not in names}
    return {k: without(v, names) for k, v in kept.items()}


def unscoped(config):
    if isinstance(config, dict):
        parts = {k: unscoped(v) for k, v in config.items() if k != '_scope_'}
        return ConfigDict(parts)
    return [unscoped(c) for c in config] if type(config) is list else config


def train_set(cfg):
    return cfg.train_dataloader.dataset


@pytest.mark.parametrize(
    'name', ['cub_resnet50_epsd', 'imagenet_resnet50_epsd']
)
def test_no_image_of_a_test_may_be_left_out(name):
    cfg = Config.fromfile(epsd_mm.config_path(name))
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.test_mode
        assert loader.dataset.pipeline[0].type == 'LoadCheckedImage'
    assert not cfg.train_dataloader.dataset.get('test_mode')
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'LoadCheckedImage'


@pytest.mark.parametrize('path', CLASSIFIERS, ids=ids(CLASSIFIERS))
def test_no_residual_branch_starts_at_zero(path):
    cfg = Config.fromfile(str(path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(without_pretrained(cfg.model))
    model.init_weights()
    weights = dict(model.named_parameters())
    zero = [
        n for n in weights if n.endswith('weight') and not weights[n].any()
    ]
    assert not zero


@pytest.mark.parametrize(
    'name, loss',
    [
        ('cifar100_resnet18_epsd', 'CSKDLoss'),
        ('cifar100_resnet18_epsd_ps_kd', 'PSKDLoss'),
        ('cifar100_resnet18_epsd_dlb', 'DLBLoss'),
    ],
)
def test_recipes_are_the_authors(name, loss):
    cfg = Config.fromfile(epsd_mm.config_path(name))
    optimizer, recipe = cfg.optim_wrapper.optimizer, RECIPES[loss]
    assert optimizer.type == 'SGD' and optimizer.momentum == 0.9
    assert optimizer.lr == recipe['lr']
    assert optimizer.weight_decay == recipe['weight_decay']
    assert optimizer.get('nesterov', False) == recipe['nesterov']
    assert cfg.train_cfg.max_epochs == recipe['epochs']
    assert cfg.train_dataloader.batch_size == 128


@pytest.mark.parametrize(
    'name', ['cifar100_vit_small_epsd', 'cub_swin_tiny_epsd']
)
def test_transformers_take_the_piece_of_sdm_prune(name, tmp_path):
    text = (FOLDER / f'{name}.py').read_text()
    bases = re.search(r'_base_ = \[.*?\]', text, re.DOTALL)[0]
    piece, count = re.subn(r'methods/\w+', 'methods/sdm_prune', bases)
    assert count == 1
    path = tmp_path / f'{name}.py'
    path.write_text(piece.replace('./_base_', str(FOLDER / '_base_')))
    cfg = Config.fromfile(str(path))
    settings = settings_of(cfg)
    assert settings.criterion.in_round(2, settings.sparsity).alpha == 0.42
    assert type(settings.structure or settings.units).__name__ == 'Neurons'
    assert settings.sd_loss is None
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert 'batch_sampler' not in cfg.train_dataloader


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize('path', ENTRIES, ids=ids(ENTRIES))
def test_every_variant_is_one_option_away(path, name):
    cfg = Config.fromfile(str(path))
    apply_variant(cfg, name)
    hook = HOOKS.build(cfg.default_hooks.epsd)
    dense = type(hook).__name__ == 'DenseHook'
    assert dense == (name == 'dense')


METHODS = FOLDER / '_base_/methods'
# Pieces that are a hook and nothing else, and the words of a suite for them.
WORDS = dict(
    gmp=dict(policy='GMP', variant='prune-only'),
    set=dict(policy='SET', variant='prune-only'),
    rigl=dict(policy='RigL', variant='prune-only'),
    ntk_sap=dict(criterion='NTKSAP', variant='prune-only'),
    kd=dict(sd_loss='KD', variant='sd-only'),
)


@pytest.mark.parametrize('name', WORDS)
def test_a_piece_is_the_hook_of_a_word_and_nothing_else(name):
    """tests/test_engine/test_shipped_configs.py trains with them."""
    cfg = Config.fromfile(METHODS / f'{name}.py')
    assert list(cfg) == ['custom_hooks']
    (config,) = cfg.custom_hooks
    settings = HOOKS.build(config).settings
    word = Run(epsd_mm.config_path('cifar100_resnet18_epsd'), **WORDS[name])
    asked = settings_of(word.resolve())
    assert settings.describe() == asked.describe()
    assert described(settings.policy) == described(asked.policy)
    assert settings.sparsity == asked.sparsity


def test_behind_a_recipe_a_piece_takes_the_place_of_epsd(tmp_path):
    path = tmp_path / 'config.py'
    bases = [str(METHODS / name) for name in ('cs_kd.py', 'gmp.py')]
    drop = "_base_.default_hooks.pop('epsd')"
    path.write_text(f'_base_ = {bases!r}\n{drop}')
    cfg = Config.fromfile(path)
    assert all(cfg.default_hooks.values())  # mmengine takes no None there
    assert settings_of(cfg).changes and settings_of(cfg).sd_loss is None
    assert cfg.train_cfg.max_epochs == RECIPES['CSKDLoss']['epochs']


def test_every_piece_of_a_method_is_in_the_table_of_the_docs():
    table = (FOLDER.parent / 'docs/the_hook.md').read_text()
    for path in METHODS.glob('*.py'):
        assert f'(../configs/_base_/methods/{path.name})' in table
