"""Weights that a model starts from, before anything is built."""

import http.client
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader

from epsd_mm.config_types import PRETRAINED, type_name


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


def without_pretrained(part: Any) -> Any:
    """A copy of a config that loads no weights from elsewhere."""
    if isinstance(part, (list, tuple)):
        return type(part)(map(without_pretrained, part))
    if not isinstance(part, Mapping):
        return part
    left = ConfigDict()
    for key, value in part.items():
        if key == 'init_cfg':
            value = _without_files(value)
        elif key == 'pretrained' and isinstance(value, str):
            value = None
        elif key == 'pretrained' and value is True:  # timm's
            value = False
        left[key] = without_pretrained(value)
    return left


def _without_files(inits: Any) -> Any:
    if isinstance(inits, (list, tuple)):
        left = [i for i in inits if type_name(i) not in PRETRAINED]
        return left or None
    return None if type_name(inits) in PRETRAINED else inits


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


def _initialised(cfg: Any, name: str) -> Iterator[tuple[ConfigDict, str]]:
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
