"""From a config to its runner, as the tools of mmdet and mmpretrain do it."""

import copy
from importlib.util import find_spec

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from epsd_mm.check_env import RECOMPILE_MMCV, pip
from epsd_mm.config_types import is_mmdet, is_mmpretrain, scope_of

from .launch import join_without_accelerator


def complete(cfg: Config) -> Config:
    """Add what those tools add to a config that was read; returns it.

    That is the scope of its names, and for mmpretrain how its loaders stack
    their samples.

    Raises:
        ImportError: It is one of mmdet, whose models need the operators of
            mmcv, and those were not compiled.
    """
    if is_mmdet(cfg) and not find_spec('mmcv._ext'):
        raise ImportError(
            "models of mmdet need mmcv's operators, which this mmcv was "
            'installed without: compile them, with a C++ compiler at hand '
            f'(about 10 minutes on 2 cores), by {pip(RECOMPILE_MMCV)} '
            '(models of mmpretrain need none)'
        )
    cfg.setdefault('launcher', 'none')
    cfg.default_scope = scope_of(cfg)
    if is_mmpretrain(cfg):
        _complete_loaders(cfg)
    return cfg


def model_config(cfg: Config) -> ConfigDict:
    """The config of the model that a runner builds.

    mmpretrain's have the preprocessor beside the model, and a runner puts
    it in: without it a network would see pixels that are not normalised.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for."""
    join_without_accelerator(cfg)
    if is_mmdet(cfg):
        from mmdet.utils import setup_cache_size_limit_of_dynamo

        setup_cache_size_limit_of_dynamo()
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _complete_loaders(cfg: Config) -> None:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is not None:
            loader.setdefault('pin_memory', True)
            loader.setdefault(
                'persistent_workers', loader.get('num_workers', 0) > 0
            )
            loader.setdefault('collate_fn', dict(type='default_collate'))
