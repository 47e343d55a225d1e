"""Ways in which a file, or what is in it, is not what was saved."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """A flipped bit, a cut, a stretch of zeros or of noise, or a gap."""
    damaged = bytearray(content)
    kind = rng.choice(['bit'] * 6 + ['cut', 'zeros', 'noise', 'gap'])
    if kind == 'bit':
        place = rng.randrange(len(damaged))
        damaged[place] ^= 1 << rng.randrange(8)
        return bytes(damaged)
    start, end = sorted(rng.sample(range(len(damaged) + 1), 2))
    if kind == 'cut':
        del damaged[start:]
    elif kind == 'gap':
        del damaged[start:end]
    elif kind == 'zeros':
        damaged[start:end] = bytes(end - start)
    else:
        damaged[start:end] = rng.randbytes(end - start)
    return bytes(damaged)


def changed(content: Any, rng: random.Random) -> Any:
    """A copy in which one thing is another, or is not there any more."""
    content = copy.deepcopy(content)
    holder, key = rng.choice(list(_places(content)))
    value = holder[key]
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = rng.choice(_OTHERS)
    elif kind == 2 and isinstance(holder, dict):
        holder[_renamed(key, rng)] = holder.pop(key)
    else:
        holder[key] = _similar(value, rng)
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Each place of a dict or list, however deep, as holder and key."""
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = range(len(content))
    else:
        return
    for key in keys:
        yield content, key
        yield from _places(content[key])


# No machine has it: who asks for it fails, and fills no memory before.
_TOO_MANY = 1 << 45

_OTHERS = [
    None,
    -1,
    2**70,
    float('nan'),
    'text',
    b'bytes',
    [],
    [None],
    {},
    {'a': 1},
    (),
    True,
    torch.zeros(0),
    torch.zeros(3, 3, dtype=torch.uint8),
    torch.zeros(1, dtype=torch.uint8).expand(_TOO_MANY),
    torch.zeros(1, 1, dtype=torch.float16).expand(2, _TOO_MANY),
    torch.eye(3).to_sparse(),
    np.zeros(3, np.uint32),
]


def _renamed(key: Any, rng: random.Random) -> Any:
    return rng.choice([0, None, '', f'{key}x', ('a', 1)])


def _similar(value: Any, rng: random.Random) -> Any:
    """Of the same kind, if there is a way."""
    if isinstance(value, torch.Tensor):
        return _similar_tensor(value, rng)
    if isinstance(value, np.ndarray):
        return value[:-1] if value.ndim and rng.random() < 0.5 else value + 1
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, -value - 1, float(value), str(value)])
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        return value[:place] + rng.choice('aé0\ud800') + value[place + 1 :]
    if isinstance(value, (list, tuple)):
        items = list(value)
        rng.shuffle(items)
        return type(value)(items + items[:1])
    return rng.choice(_OTHERS)


def _similar_tensor(tensor: torch.Tensor, rng: random.Random) -> torch.Tensor:
    kind = rng.randrange(6)
    if kind == 0:
        return tensor.to(rng.choice([torch.float64, torch.int64, torch.bool]))
    if kind == 1:
        return tensor.reshape(1, *tensor.shape)
    if kind == 2:
        return tensor.reshape(-1)[:-1]
    if kind == 3:
        return torch.cat([tensor.reshape(-1)] * 2)
    if kind == 4:
        return tensor.new_zeros(1).expand(tensor.shape)
    flipped = tensor.clone().reshape(-1)
    if len(flipped):
        raw = flipped.view(torch.uint8)
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return flipped.reshape(tensor.shape)
