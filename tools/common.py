"""What the training and the testing tool have in common."""

import argparse
import http.client
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner

from epsd_mm.config_types import PRETRAINED, scope_of, type_name
from epsd_mm.engine.launch import join_without_accelerator
from epsd_mm.engine.safe_loading import (
    CheckpointError,
    add_trust_argument,
    code_refused,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that close both tools' lists."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that replace those of the config, as key=value: '
        'a.b=1 for a nested one, a="[1,2]" or a=1,2 for a list, '
        'a="[(1,2),(3,4)]" for a list of tuples (quoted, without spaces)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed job',
    )
    add_trust_argument(parser)
    # torch.distributed.launch passes this one; torchrun sets LOCAL_RANK.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


@contextmanager
def careful_loading(args: argparse.Namespace) -> Iterator[None]:
    """Run no code that comes in a checkpoint, unless it is trusted."""
    try:
        with code_refused(unless=args.trust_checkpoint):
            yield
    except CheckpointError as error:
        raise SystemExit(f'error: {error}') from None


@contextmanager
def one_sentence() -> Iterator[None]:
    """End the tool on what a user can put right, without a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def load_config(
    args: argparse.Namespace, change: Callable[[Config], None] | None = None
) -> Config:
    """Read the config and merge what the command line says.

    Args:
        args: Of the tool.
        change: Is done to the config before its settings are replaced.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    if change is not None:
        change(cfg)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('./work_dirs', name)
    cfg.default_scope = scope_of(cfg)
    if is_mmpretrain(cfg):
        _complete_loaders(cfg)
    return cfg


def is_mmpretrain(cfg: Config) -> bool:
    return cfg.get('default_scope') == 'mmpretrain'


def is_mmdet(cfg: Config) -> bool:
    return cfg.get('default_scope') == 'mmdet'


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for."""
    join_without_accelerator(cfg)
    if is_mmdet(cfg):
        from mmdet.utils import setup_cache_size_limit_of_dynamo

        setup_cache_size_limit_of_dynamo()
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def fetch_pretrained(model: ConfigDict) -> None:
    """Fetch the weights a model starts from, or say what can be done.

    Args:
        model: The config of the model.

    Raises:
        OSError: A checkpoint is neither reachable nor on this machine.
    """
    for owner, name in _initialised(model, 'model'):
        cfgs = owner.init_cfg
        several = isinstance(cfgs, (list, tuple))
        for index, init in enumerate(cfgs if several else [cfgs]):
            if type_name(init) not in PRETRAINED:
                continue
            key = f'{name}.init_cfg' + (f'.{index}' if several else '')
            _fetch(init.checkpoint, key, name, owner)


def _fetch(checkpoint: str, key: str, name: str, owner: ConfigDict) -> None:
    try:
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except (OSError, http.client.HTTPException) as error:
        scratch = [f'{name}.init_cfg=None']
        if type_name(owner).startswith('Res'):
            scratch.append(f'{name}.zero_init_residual=False')
        if owner.get('frozen_stages', -1) >= 0:
            scratch.append(f'{name}.frozen_stages=-1')
        if owner.get('norm_eval'):
            scratch.append(f'{name}.norm_eval=False')
        raise OSError(
            f'the pretrained weights {checkpoint!r} cannot be loaded '
            f'({error}); give a local file with `--cfg-options '
            f'{key}.checkpoint=PATH`, or start from scratch with '
            f'`--cfg-options {" ".join(scratch)}`'
        ) from error


def _initialised(cfg, name: str) -> Iterator[tuple[ConfigDict, str]]:
    """All parts of a model's config that have an ``init_cfg``."""
    if isinstance(cfg, dict):
        if cfg.get('init_cfg'):
            yield cfg, name
        children = cfg.items()
    elif isinstance(cfg, (list, tuple)):
        children = enumerate(cfg)
    else:
        return
    for key, child in children:
        if key != 'init_cfg':
            yield from _initialised(child, f'{name}.{key}')


def _complete_loaders(cfg: Config) -> None:
    """Give loaders the settings that mmpretrain's own tools give them."""
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            cfg[loader].setdefault('pin_memory', True)
            cfg[loader].setdefault(
                'persistent_workers', cfg[loader].get('num_workers', 0) > 0
            )
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
