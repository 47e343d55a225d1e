"""What the scores of a runner's model depend on."""

import pickle
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmengine.runner import Runner
from torch import nn

import epsd_mm
from epsd_mm.datasets.leaves import leaf_datasets
from epsd_mm.digest import digest
from epsd_mm.pruning import Masks

from .settings import Settings
from .trained_network import teacher_digest

# They tell what becomes of the scores, or of masks that stand; the content of
# given masks counts.
_NOT_OF_SCORES = (
    'allow_empty_layers',
    'compare_plain',
    'zero_layers',
    'masks',
    'prefix',
    'start',
    'policy',
)
# Scoring loads in its own process.
_OF_WORKERS = (
    'num_workers',
    'persistent_workers',
    'prefetch_factor',
    'pin_memory',
    'multiprocessing_context',
    'timeout',
    'worker_init_fn',
)
_PACKAGES = ('torch', 'numpy', 'mmengine')


def scoring_key(
    runner: Runner,
    model: nn.Module,
    settings: Settings,
    given: Masks | None = None,
) -> dict[str, str]:
    """Digests of weights, settings, data and code, by name.

    Where all are the same, a draw has the same scores. Of the data they know
    the config and what the data sets say of their samples; images on the
    disk are not read.
    """
    start = settings.read_start()
    dataset = runner.train_dataloader.dataset
    params = dict(model.named_parameters())
    sources = _sources(_parts(runner, model, settings))
    # Not of all that happens to be imported, which differs by process.
    used = {*_PACKAGES, *(name.partition('.')[0] for name in sources)}
    loader = runner.cfg.get('train_dataloader') or {}
    parts = {
        'weights': params,
        'buffers': dict(model.named_buffers()),
        'trainable weights': [n for n, p in params.items() if p.requires_grad],
        'device': next(iter(params.values())).device.type,
        'settings': _settings(settings),
        'given masks': given and given.pack(),
        'masks of the start': start and start.pack(),
        'teacher': teacher_digest(settings.sd_loss),
        'config of the model': runner.cfg.get('model'),
        'config of the loader': {
            k: v for k, v in loader.items() if k not in _OF_WORKERS
        },
        'data': [_content(leaf) for leaf in leaf_datasets(dataset)],
        'versions of packages': {
            name: getattr(sys.modules.get(name), '__version__', None)
            for name in sorted(used)
        },
        'code of epsd_mm': _package(),
        'code of model, data and samplers': sources,
    }
    return {name: digest(part) for name, part in parts.items()}


def _settings(settings: Settings) -> dict:
    of_scores = {
        name: _described(getattr(settings, name)) for name in _names(settings)
    }
    return dict(of_scores, initial_sparsity=settings.initial_sparsity)


def _names(settings: Settings) -> list[str]:
    names = [field.name for field in fields(settings)]
    return [name for name in names if name not in _NOT_OF_SCORES]


def _described(part: Any) -> Any:
    if not hasattr(part, '__dict__'):
        return part
    free = getattr(part, 'cost_only', ())
    own = {k: v for k, v in vars(part).items() if k[0] != '_'}
    own = {k: v for k, v in own.items() if k not in free}
    return dict(own, type=type(part).__qualname__)


def _content(dataset: Any) -> Any:
    """What a data set without wrappers says of its samples."""
    packed = getattr(dataset, 'data_bytes', ())
    if len(packed):
        return packed
    listed = getattr(dataset, 'data_list', None)
    return pickle.dumps(listed) if listed else len(dataset)


def _package() -> dict[str, bytes]:
    root = Path(epsd_mm.__file__).parent
    paths = sorted(path.relative_to(root) for path in root.rglob('*.py'))
    # Configs and tools travel beside the code there.
    code = [path for path in paths if path.parts[0] != '.mim']
    return {str(path): (root / path).read_bytes() for path in code}


def _parts(runner: Runner, model: nn.Module, settings: Settings) -> Iterator:
    """What somebody else's code may define."""
    loader = runner.train_dataloader
    yield from model.modules()
    yield from (loader.sampler, loader.batch_sampler)
    for leaf in leaf_datasets(loader.dataset):
        yield leaf
        yield from getattr(getattr(leaf, 'pipeline', None), 'transforms', ())
    for name in _names(settings):
        yield getattr(settings, name)


def _sources(parts: Iterator) -> dict[str, bytes]:
    """The files that define the classes of objects."""
    names = {base.__module__ for p in parts for base in type(p).__mro__}
    files = {n: getattr(sys.modules.get(n), '__file__', None) for n in names}
    paths = {name: Path(file) for name, file in files.items() if file}
    return {
        name: path.read_bytes()
        for name, path in sorted(paths.items())
        if path.is_file()
    }
