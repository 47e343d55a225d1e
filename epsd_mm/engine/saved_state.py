"""What a run with EPSDHook puts into a checkpoint, and reads back."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsd_mm.digest import digest
from epsd_mm.memory import check_memory
from epsd_mm.pruning import Masks
from epsd_mm.pruning.objective import RandomState
from epsd_mm.structure import Channels
from epsd_mm.versions import check_version

#: Of ``checkpoint['epsd']``: 0 had no digest, 1 no version.
VERSION = 2


@dataclass(frozen=True)
class SavedState:
    """The content of ``checkpoint['epsd']``.

    Attributes:
        random_state: The generators when the checkpoint was saved.
        identity: What a run cannot change half way.
        masks: In force, if it prunes.
        channels: Which units are kept, where masks are made of them.
        left_dense: Layers that nothing ranked, and that were left whole.
        policy: How far a policy that changes the masks is, if there is one.
        teacher: State of a teacher that learns, if there is one.
        training_set: Fingerprint of the images the teacher remembers.
    """

    random_state: RandomState | None = None
    identity: dict = field(default_factory=dict)
    masks: Masks | None = None
    channels: Channels | None = None
    left_dense: list[str] = field(default_factory=list)
    policy: dict | None = None
    teacher: dict | None = None
    training_set: str | None = None

    def pack(self) -> dict:
        """Tensors and plain values, a version, and a digest of them all."""
        packed = dict(version=VERSION, identity=_plain(self.identity))
        if self.random_state is not None:
            packed['random_state'] = asdict(self.random_state)
        if self.masks is not None:
            packed['masks'] = self.masks.pack()
            packed['left_dense'] = self.left_dense
        if self.policy is not None:
            packed['policy'] = self.policy
        if self.channels is not None:
            packed['channels'] = self.channels.pack()
        if self.teacher is not None:
            packed['teacher'] = self.teacher
            packed['training_set'] = self.training_set
        return dict(packed, digest=digest(packed))

    @classmethod
    def unpack(cls, packed: Any) -> 'SavedState':
        """Read what :meth:`pack` returned, whole or not at all.

        None is what a run without EPSDHook has saved.

        What earlier versions wrote has no digest, and is checked for its
        form alone.

        Raises:
            ValueError: It is of a version that is not known here, or
                damaged; says which part.
        """
        if packed is None:
            return cls()
        if not isinstance(packed, Mapping):
            raise ValueError(f'it is a {type(packed).__name__}, not a dict')
        parts = dict(packed)
        told = parts.pop('digest', None)
        if 'version' in parts:
            remedy = 'go on with the version of epsd_mm that wrote it, or take'
            remedy += ' its weights alone by load_from'
            check_version(parts['version'], VERSION, 'it is', remedy)
        readable = {n: p for n, p in parts.items() if n != 'version'}
        unknown = [name for name in readable if name not in _READERS]
        if unknown:
            raise ValueError(f'it has the unknown part {unknown[0]!r}')
        read = {}
        for name, part in readable.items():
            try:
                check_memory(part)
                read[name] = _READERS[name](part)
            except Exception as error:  # whatever a part is made of
                raise ValueError(f'its {name} is damaged: {error}') from error
        if told is not None and told != _digest(parts):
            raise ValueError('it is not what was saved: its digest differs')
        return cls(**read)


def saved_masks(checkpoint: Any) -> Masks | None:
    """The masks in a checkpoint, if a run with EPSDHook has saved it.

    Raises:
        ValueError: They are damaged.
    """
    saved = checkpoint.get('epsd') if isinstance(checkpoint, Mapping) else None
    packed = saved.get('masks') if isinstance(saved, Mapping) else None
    return None if packed is None else Masks.unpack(packed)


def _digest(parts: dict) -> str | None:
    try:
        return digest(parts)
    except Exception:  # a value of a kind that is never saved
        return None


def _plain(value: Any) -> Any:
    """The same with plain dicts: a safe load knows no ConfigDict."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _read_random_state(part: Any) -> RandomState:
    """Try each state on a generator that nobody uses."""
    state = RandomState(**part)
    random.Random().setstate(state.python)
    np.random.RandomState().set_state(state.numpy)
    if not 0 <= state.numpy['state']['pos'] <= 624:
        raise ValueError("numpy's generator is beyond its end")
    torch.Generator().set_state(state.torch.cpu())
    for each in state.cuda:
        if each.dtype != torch.uint8 or each.dim() != 1:
            raise ValueError('a state of CUDA is no row of bytes')
    return state


def _read_identity(part: Any) -> dict:
    settings = part.get('settings')
    if not isinstance(settings, (Mapping, type(None))):
        raise ValueError(f'settings={settings!r}')
    if _has_arrays(part):  # equality of arrays is no yes or no
        raise ValueError('it has values that are not plain')
    return _read_names(part)


def _has_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_arrays, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_arrays, value))
    return isinstance(value, (Tensor, np.ndarray))


def _read_names(part: Any) -> dict:
    if not isinstance(part, Mapping) or any(type(k) is not str for k in part):
        raise ValueError('it is no dict from names to values')
    return dict(part)


def _read_left_dense(part: Any) -> list[str]:
    if not isinstance(part, list) or any(type(n) is not str for n in part):
        raise ValueError('it is no list of names')
    return list(part)


def _read_policy(part: Any) -> dict:
    if not isinstance(part, Mapping):
        raise ValueError('it is no dict')
    for name in ('step', 'total', 'seed'):
        if type(part[name]) is not int or part[name] < 0:
            raise ValueError(f'{name}={part[name]!r}')
    for name in ('kept_steps', 'policy'):
        _read_names(part[name])
    if any(type(kept) is not int for kept in part['kept_steps'].values()):
        raise ValueError('kept_steps has what is no number')
    return dict(part)


def _read_training_set(part: Any) -> str | None:
    if part is not None and not isinstance(part, str):
        raise ValueError(f'{part!r} is no fingerprint')
    return part


_READERS = dict(
    random_state=_read_random_state,
    identity=_read_identity,
    masks=Masks.unpack,
    channels=Channels.unpack,
    left_dense=_read_left_dense,
    policy=_read_policy,
    teacher=_read_names,
    training_set=_read_training_set,
)
