"""The configs that are shipped build what they say."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope

import epsd_mm
from epsd_mm.engine.variants import VARIANTS, apply_variant
from epsd_mm.pruning import prunable_parameters

FOLDER = Path(epsd_mm.config_path('voc_faster_rcnn_epsd')).parent
ENTRIES = sorted(
    path for path in FOLDER.glob('*.py') if not path.name.startswith('demo')
)
CLASSIFIERS = [path for path in ENTRIES if not path.name.startswith('voc')]
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
    classes = dict(cifar10=10, imagenet=1000, cifar100=100)
    wanted = classes.get(path.name.split('_')[0], 200)
    assert cfg.model.head.num_classes == wanted
    assert [type(m).__name__ for m in metrics] == ['Accuracy', 'Calibration']
    assert hook.settings.sparsity == 0.9
    assert len(prunable_parameters(model)) >= 10
    loss = type(hook.settings.sd_loss).__name__
    sampler = cfg.train_dataloader.get('batch_sampler')
    assert (sampler and sampler.type) == SAMPLERS[loss]
    assert 'batch_sampler' not in cfg


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
        model = MODELS.build(cfg.model)
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


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize('path', ENTRIES, ids=ids(ENTRIES))
def test_every_variant_is_one_option_away(path, name):
    cfg = Config.fromfile(str(path))
    apply_variant(cfg, name)
    hook = HOOKS.build(cfg.default_hooks.epsd)
    dense = type(hook).__name__ == 'DenseHook'
    assert dense == (name == 'dense')
