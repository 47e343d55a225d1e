"""One string for what a result depends on."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor, uint8


def digest(value: Any) -> str:
    """32 hexadecimal digits; other values have other ones.

    Args:
        value: Tensors, arrays, bytes, and whatever has a telling ``repr``,
            in mappings and sequences nested at will.
    """
    content = blake2b(digest_size=16)
    for part in _parts(value):
        content.update(len(part).to_bytes(8, 'little'))
        content.update(part)
    return content.hexdigest()


def _parts(value: Any):
    if isinstance(value, Mapping):
        yield f'mapping of {len(value)}'.encode()
        for name, item in value.items():
            yield repr(name).encode()
            yield from _parts(item)
    elif isinstance(value, (list, tuple)):
        yield f'sequence of {len(value)}'.encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, Tensor):
        yield f'{value.dtype} {list(value.shape)}'.encode()
        flat = value.detach().cpu().contiguous().reshape(-1)
        # Also for types that numpy does not know.
        yield memoryview(flat.view(uint8).numpy())
    elif isinstance(value, np.ndarray):
        yield f'{value.dtype} {value.shape}'.encode()
        yield memoryview(
            np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        )
    elif isinstance(value, bytes):
        yield value
    else:
        # An address is another one in each process.
        text = re.sub(r' at 0x[0-9a-f]+', '', repr(value))
        yield text.encode('utf-8', 'surrogateescape')
