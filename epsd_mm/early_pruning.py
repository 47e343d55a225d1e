"""Prune once, and write a config and weights that train from there."""

import copy
import io
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from .compaction import WidthTable, check_training, compare, shrink
from .config_types import type_name
from .engine.checkpoints import damaged_state
from .engine.checks import unwrapped
from .engine.fitting_state import fitting_state
from .engine.hooks import EPSDHook
from .engine.initial_model import build_untrained
from .engine.pretrained import without_pretrained
from .engine.safe_loading import CheckpointError, load_values
from .engine.saved_state import SavedState
from .engine.settings import settings_of
from .engine.training_losses import (
    training_losses,
    training_multiplications,
)
from .engine.variants import apply_pruned
from .families import channel_groups, example_call, let_heads_go
from .files import atomic_write, write_text
from .pruning import weight_count
from .run_files import MASKS
from .structure import Channels
from .structure.coupling import UNSEEN
from .training import train
from .version import __version__

#: What each weight does on a batch of training, in the folder of a network.
WORK = 'epsd/multiplications.json'

#: The folder of the config that says so.
HERE = '{{ fileDirname }}'
_OF_ONE_RUN = ('work_dir', 'load_from', 'resume', 'launcher')


def prune_before_training(
    cfg: Config, folder: Path, checkpoint: str | None = None
) -> None:
    """Do what a training does before its first step, and write the outcome.

    ``config.py`` and ``init.pth`` in the folder go on from there: where
    channels were removed, with a network that does not have them; otherwise
    with the masks in ``epsd/``, beside the report.

    Args:
        cfg: A complete config with an ``EPSDHook``.
        folder: For all that is written.
        checkpoint: Of a network to prune in place of the initial one.

    Raises:
        FileExistsError: The folder has the outcome of another pruning.
        ValueError: Masks would change while it trains.
        StartError: See :func:`~epsd_mm.training.train`.
        CheckpointError: The checkpoint is not one of this network.
    """
    refuse_outcome(folder)
    settings = settings_of(cfg)
    if settings is not None and settings.changes:
        raise ValueError(
            f'policy={type(settings.policy).__name__} changes masks while it '
            'trains, and what is written here has those of the start: train '
            'with tools/train.py, or remove policy'
        )
    told = without_run(cfg)
    cfg = _renamed(cfg)
    cfg.work_dir = str(folder)
    if checkpoint is not None:
        cfg.load_from, cfg.resume = checkpoint, False
    runner = train(cfg, _StopBeforeFirstStep(checkpoint))
    model = unwrapped(runner)
    (hook,) = (h for h in runner.hooks if isinstance(h, EPSDHook))
    classes = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    if hook.channels is None:
        apply_pruned(told, masks=f'{HERE}/{MASKS}')
        told.model = _initialised(told.model)
        _write(folder, told, model, classes)
    else:
        batch = next(iter(runner.train_dataloader))
        _write_compact(folder, told, model, hook.channels, classes, batch)


def compact_trained(cfg: Config, folder: Path, checkpoint: str) -> None:
    """Take the channels that a training kept at zero out of its network.

    Args:
        cfg: The complete config of that training.
        folder: For all that is written.
        checkpoint: Of that training.

    Raises:
        FileExistsError: The folder has the outcome of another pruning.
        CheckpointError: The checkpoint is not one of this network, or has
            no channels.
    """
    refuse_outcome(folder)
    content = load_values(checkpoint, 'cpu')
    channels = channels_of(checkpoint, content)
    if channels is None:
        raise CheckpointError(f'{checkpoint} has no channels to remove')
    model = build_untrained(cfg)
    model.load_state_dict(fitting_state(model, content, checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    classes = content.get('meta', {}).get('dataset_meta')
    _write_compact(folder, without_run(cfg), model, channels, classes)


def channels_of(path: str, content: Any = None) -> Channels | None:
    """The channels in force when a checkpoint was saved, if there are any.

    Raises:
        CheckpointError: They are damaged.
    """
    content = load_values(path, 'cpu') if content is None else content
    saved = content.get('epsd') if isinstance(content, Mapping) else None
    try:
        return SavedState.unpack(saved).channels
    except ValueError as error:
        raise damaged_state(path, error) from error


class _StopBeforeFirstStep(Hook):
    """Ends a training once all has been done that comes before it."""

    priority = 'LOWEST'

    def __init__(self, checkpoint: str | None) -> None:
        self._checkpoint = checkpoint

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._checkpoint is not None:
            fitting_state(unwrapped(runner), checkpoint, self._checkpoint)

    def before_train(self, runner: Runner) -> None:
        runner.train_loop.stop_training = True


def _write_compact(
    folder: Path,
    cfg: Config,
    model: nn.Module,
    channels: Channels,
    classes: Mapping | None,
    batch: Any = None,
) -> None:
    groups = channel_groups(model)
    channels = channels.in_all(groups)
    let_heads_go(model)
    whole = copy.deepcopy(model)
    table = shrink(model, groups, channels)
    compared = compare(whole, model, example_call(whole))
    unseen = [name for name, why in groups.whole.items() if why == UNSEEN]
    if batch is not None:
        check_training(whole, model, partial(training_losses, batch))
        _write_work(folder / WORK, whole, batch)
    elif unseen:
        MMLogger.get_current_instance().warning(
            f'not seen, so not made narrower: {", ".join(unseen)}; if one of '
            'them reads a narrower layer, where training calls it, it fails'
        )
    logger = MMLogger.get_current_instance()
    logger.info(
        f'{channels.kept:,} of {channels.total:,} units are kept, and '
        f'{weight_count(model):,} of {weight_count(whole):,} weights; the '
        'outputs are those of the network with zeros in their place, but for '
        f'{compared.difference:.1e} of the largest'
    )
    if compared.dropouts:
        logger.warning(
            'these layers drop out narrower features, so that training draws '
            'other random numbers than with zeros in their place: '
            f'{", ".join(compared.dropouts)}'
        )
    cfg.model = narrowed(_initialised(cfg.model), table)
    apply_pruned(cfg)
    _write(folder, cfg, model, classes, channels)


def narrowed(model: ConfigDict, table: WidthTable) -> ConfigDict:
    """The config of a network with the widths of a table."""
    base = copy.copy(model)
    kind = base.pop('type')
    if type_name(model) == 'Compact':
        kind = base.pop('of')
        table = WidthTable.from_config(base.pop('channels')).then(table)
    return ConfigDict(
        type='Compact', of=kind, channels=table.to_config(), **base
    )


def _write_work(path: Path, whole: nn.Module, batch: Any) -> None:
    """Write how often an entry of each weight multiplies in training."""
    times = training_multiplications(batch, whole)
    if not is_main_process():
        return
    content = dict(images=len(batch['inputs']), multiplications=times)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2))


def _write(
    folder: Path,
    cfg: Config,
    model: nn.Module,
    classes: Mapping | None,
    channels: Channels | None = None,
) -> None:
    if not is_main_process():
        return
    import_package(cfg)
    text = cfg.pretty_text
    content = dict(
        meta=dict(
            cfg=text,
            dataset_meta=_plain(classes or {}),
            epsd_mm_version=__version__,
            mmengine_version=mmengine.__version__,
            time=time.strftime('%Y%m%d_%H%M%S'),
        ),
        state_dict={n: t.cpu() for n, t in model.state_dict().items()},
    )
    if channels is not None:
        content['channels'] = channels.pack()
    file = io.BytesIO()
    torch.save(content, file)
    with atomic_write(folder / 'init.pth') as saved:
        saved.write(file.getbuffer())
    what = 'its masks' if channels is None else 'channels removed for good'
    write_text(
        folder / 'config.py',
        f'# Written by tools/prune.py: a network with {what}, whose weights\n'
        '# are in init.pth beside this file. Train it as any other config.\n'
        f'{text}',
    )


def import_package(cfg: Config) -> None:
    """Let a config find the names that are registered here."""
    imports = cfg.setdefault('custom_imports', ConfigDict(imports=[]))
    if 'epsd_mm' not in imports.imports:
        imports.imports = [*imports.imports, 'epsd_mm']


def _initialised(model: ConfigDict) -> ConfigDict:
    """The same model, which starts from ``init.pth`` beside its config."""
    model = without_pretrained(model)
    model.init_cfg = ConfigDict(
        type='Pretrained', checkpoint=f'{HERE}/init.pth'
    )
    return model


def _renamed(cfg: Config) -> Config:
    """A config that a runner does not save as ``config.py``.

    It is of the network before, and the folder may be that of a failure.
    """
    path = Path(cfg.filename or 'pruned.py')
    name = f'of_{path.name}' if path.name == 'config.py' else path.name
    return Config(
        cfg._cfg_dict, cfg_text=cfg.text, filename=str(path.with_name(name))
    )


def without_run(cfg: Config) -> Config:
    """A copy that says nothing of where one run was."""
    told = copy.deepcopy(cfg)
    for name in _OF_ONE_RUN:
        told.pop(name, None)
    return told


def refuse_outcome(folder: Path) -> None:
    """Raise where a folder has the outcome of another pruning.

    Raises:
        FileExistsError: Names the file.
    """
    for name in ('init.pth', 'config.py'):
        if (folder / name).exists():
            raise FileExistsError(
                f'{folder / name} is there already: choose another folder, '
                'or remove it'
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value
