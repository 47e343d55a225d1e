"""The configs of the runs that docs/ shows build what they say."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, DefaultScope

from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.pruning import Masks, prunable_parameters

DOCS = Path(__file__).parents[1] / 'docs'
# All but what runs have in common, and what a study is made of.
RUNS = sorted(
    set(DOCS.glob('*/*.py'))
    - {DOCS / 'voc_detectors/subset.py'}
    - set(DOCS.glob('study/*.py'))
)


def ids(paths):
    return [f'{path.parent.name}-{path.stem}' for path in paths]


def built(cfg):
    model = dict(cfg.model)
    # As a runner does.
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(model)


def masks_of_run(path, folder):
    """Masks for the model of the run in whose work_dir they are to be."""
    name = Path(path).parts[1]
    assert path == f'work_dirs/{name}/epsd/masks.pth'
    (source,) = DOCS.glob(f'*/{name}.py')
    model = built(Config.fromfile(source))
    masks = Masks.ones_like(prunable_parameters(model))
    masks.save(folder / 'masks.pth')
    return str(folder / 'masks.pth')


@pytest.mark.parametrize('path', RUNS, ids=ids(RUNS))
def test_model_hook_and_transforms_are_built(path, tmp_path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = built(cfg)
        settings = cfg.default_hooks.epsd
        if 'masks' in settings:
            settings.masks = masks_of_run(settings.masks, tmp_path)
        hook = HOOKS.build(settings)
        for key in ('train', 'val', 'test'):
            loader = cfg.get(f'{key}_dataloader') or {}
            for leaf in leaf_configs(loader.get('dataset')):
                assert [TRANSFORMS.build(step) for step in leaf.pipeline]
    settings = hook.settings
    # A glob without a weight to its name is refused.
    prunable = prunable_parameters(model, settings.include, settings.exclude)
    assert len(prunable) >= 10
    assert settings.sd_loss is not None
    if settings.masks is not None:
        masks = settings.read_masks()
        assert all(name.startswith('backbone.') for name in masks)
        weights = dict(model.named_parameters())
        masks.check_fits({n: weights[n] for n in masks})
