"""From a config to its runner, as the tools of mmdet and mmpretrain do it."""

from importlib.util import find_spec

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from epsd_mm.check_env import installed_versions, recompile_mmcv
from epsd_mm.config_types import is_mmdet, is_mmpretrain, scope_of
from epsd_mm.quiet import quiet

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
            '(about 10 minutes on 2 cores), by '
            f'{recompile_mmcv(installed_versions())} '
            '(models of mmpretrain need none)'
        )
    if is_mmdet(cfg):
        _import_quietly()
    cfg.setdefault('launcher', 'none')
    cfg.default_scope = scope_of(cfg)
    if is_mmpretrain(cfg):
        _complete_loaders(cfg)
    return cfg


def _import_quietly() -> None:
    """Import what mmengine would, without words on packages that are absent.

    mmdet prints them for data sets and metrics that nobody asked for.
    """
    with quiet():
        import mmdet.datasets
        import mmdet.evaluation  # noqa: F401


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
