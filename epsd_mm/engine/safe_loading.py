"""Checkpoints that are read without running what is in them.

``torch.load(weights_only=True)`` builds only what a list allows. mmengine's
list has ``getattr``, since what it saves asks for methods by name; through
``getattr`` a file can reach any function. Here it finds those methods alone.
"""

import argparse
import contextlib
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint

from epsd_mm.files import check_saved

#: How a message ends on a file that cannot be mended.
TAKE_ANOTHER = '; take another checkpoint'


class CheckpointError(ValueError):
    """A checkpoint cannot be loaded; the message is one sentence."""


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument of all tools that load a checkpoint."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than tensors and plain values, '
        'which can run code: only where you trust who made them',
    )


@contextlib.contextmanager
def code_refused(unless: bool = False) -> Iterator[None]:
    """Let mmengine load no more than values while the block runs.

    Files and addresses given as ``http(s)://`` are read by
    :func:`load_values`. For what goes another way torch itself is told to
    load only what it knows.

    Args:
        unless: Refuse nothing, since what is loaded is trusted: then
            :func:`load_values` takes more than values, too.
    """
    token = _trusts.set(unless)
    try:
        with contextlib.nullcontext() if unless else _refusing():
            yield
    finally:
        _trusts.reset(token)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    # torch takes no file while both are set.
    before = {name: os.environ.pop(name, None) for name in (_TOLD, _UNTOLD)}
    os.environ[_TOLD] = '1'
    _register(load_from_local, load_from_http)
    try:
        yield
    finally:
        _register(checkpoint.load_from_local, checkpoint.load_from_http)
        os.environ.pop(_TOLD, None)
        set_before = {k: v for k, v in before.items() if v is not None}
        os.environ.update(set_before)


def _register(local: Callable, http: Callable) -> None:
    register = checkpoint.CheckpointLoader.register_scheme
    register('', local, force=True)
    register(('http://', 'https://'), http, force=True)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """What is in a file, in the place of mmengine's function of this name.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, or holds more than values.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename} can not be found: name the file of a checkpoint'
        )
    return _without_config(load_values(path, map_location))


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """Likewise from the network, or from torch's folder of downloads."""
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    path = folder / Path(filename.partition('?')[0]).name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(filename, str(path))
    return _without_config(load_values(path, map_location))


def _without_config(checkpoint: Any) -> Any:
    """Leave out the text that mmengine runs as Python when it resumes.

    mmcv 1 saved it, and mmengine looks there for the number of GPUs.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


def load_values(
    path: str | Path, map_location: Any = None, **options: Any
) -> Any:
    """What is in a file of tensors and plain values.

    The values that mmengine's and this package's checkpoints hold are among
    them: arrays, random states, the history of the log. What else there is
    is loaded where the user trusts it (:func:`code_refused`), and nowhere
    else.

    Raises:
        OSError: It cannot be read.
        CheckpointError: It is damaged, or holds more than values.
    """
    _check_whole(path)
    try:
        if _trusts.get():
            options['weights_only'] = False
            return torch.load(path, map_location=map_location, **options)
        return _load(path, map_location, **options)
    except pickle.UnpicklingError as error:
        name = re.search(r'GLOBAL ([\w.]+)', str(error))
        what = name[1] if name else 'something'
        raise CheckpointError(
            f'{path} holds {what}, which is no plain value, and loading it '
            'could run code: if you trust who made it, repeat with '
            '--trust-checkpoint, or, where there is no such option, as in a '
            'suite, let a file have its state_dict alone'
        ) from error
    except OSError:
        raise
    except Exception as error:  # torch has many for what it cannot read
        raise _unreadable(path, error) from error


def check_checkpoint(path: str | Path, to_resume: bool = False) -> None:
    """Raise where a checkpoint is damaged, and run nothing that is in it.

    Args:
        path: Of the file.
        to_resume: Raise also where it lacks what a run needs to go on.

    Raises:
        OSError: It cannot be read.
        CheckpointError: It is damaged; or no run can go on from it.
    """
    _check_whole(path)
    try:
        content = _glance(path)
    except pickle.UnpicklingError as error:
        if _is_zip(path) or 'GLOBAL' in str(error):
            return  # whole, and of more than values
        raise _unreadable(path, error) from error
    except OSError:
        raise
    except Exception as error:  # torch has many for what it cannot read
        raise _unreadable(path, error) from error
    if to_resume:
        found = content if isinstance(content, dict) else {}
        missing = [repr(part) for part in _RESUMED if part not in found]
        if missing:
            raise CheckpointError(
                f'{path} has no {" and no ".join(missing)}, so that no run '
                'can go on from it: take its weights with load_from instead '
                'of resume'
            )


def read_meta(path: str | Path) -> dict:
    """What a checkpoint says about its run; nothing where it cannot."""
    try:
        meta = _glance(path)['meta']
    except Exception:  # whatever it is, it is no checkpoint of a run
        return {}
    return meta if isinstance(meta, dict) else {}


def _unreadable(path: str | Path, error: Exception) -> CheckpointError:
    return CheckpointError(f'{path} cannot be read: {error}{TAKE_ANOTHER}')


def _check_whole(path: str | Path) -> None:
    try:
        check_saved(path)
    except ValueError as error:
        raise CheckpointError(f'{error}{TAKE_ANOTHER}') from error


def _glance(path: str | Path) -> Any:
    """What is in a file, while its tensors stay on the disk if they can."""
    return _load(path, 'cpu', mmap=_is_zip(path))


def _is_zip(path: str | Path) -> bool:
    with open(path, 'rb') as file:
        return file.read(2) == b'PK'


def _load(path: str | Path, map_location: Any, **options: Any) -> Any:
    # torch has the list since 2.4, and before allows no more than tensors.
    allow = getattr(torch.serialization, 'safe_globals', None)
    with allow(_ALLOWED) if allow else contextlib.nullcontext():
        return torch.load(
            path, map_location=map_location, weights_only=True, **options
        )


def _called(name: str, function: Callable) -> Callable:
    """A function that a file finds under a name."""

    def found(*args: Any) -> Any:
        return function(*args)

    found.__module__, _, found.__name__ = name.rpartition('.')
    found.__qualname__ = found.__name__
    return found


def _named(cls: type) -> type:
    """A class without content that a file takes for another one."""
    return type(cls.__name__, (), dict(__module__=cls.__module__))


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """What numpy saves an array as: an empty one, which its state fills."""
    if kind is not np.ndarray or shape != (0,):
        raise ValueError(f'an array of shape {shape} comes without content')
    return _core.multiarray._reconstruct(kind, shape, code)


def _method(owner: Any, name: str) -> Any:
    known = isinstance(owner, type) and name in _METHODS.get(owner, ())
    if not known:
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr of {name!r}')
    return getattr(_CLASSES.get(owner, owner), name)


_trusts: ContextVar[bool] = ContextVar('trusts', default=False)
_TOLD = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_UNTOLD = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
# What both runners of mmengine take from a checkpoint to go on.
_RESUMED = ('state_dict', 'meta', 'message_hub')
_OneCycle = _named(OneCycleParamScheduler)
_CLASSES = {_OneCycle: OneCycleParamScheduler}
# What mmengine saves by name: methods of its logs and of one scheduler.
_METHODS = {
    HistoryBuffer: ('min', 'max', 'mean', 'current'),
    _OneCycle: ('_annealing_cos', '_annealing_linear'),
}
# numpy 2 renamed its core, and files of either are read by the other.
_CORES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_core = getattr(np, '_core', None) or np.core
_ALLOWED = [
    HistoryBuffer,
    _OneCycle,
    _called('builtins.getattr', _method),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in '?bBhHiIlLqQefd'},
    *(
        _called(f'{core}.{name}', function)
        for core in _CORES
        for name, function in (
            ('_reconstruct', _empty_array),
            ('scalar', _core.multiarray.scalar),
        )
    ),
]
