"""CIFAR's files in their published pickle form, read without running them.

Unpickling calls whatever a file names. Here a file may name what numpy
arrays are made of and nothing else, and even these names lead to the few
lines below instead of numpy: ``numpy.ndarray`` itself can be called with an
object dtype over forged addresses.
"""

import pickle
import re
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from epsd_mm.shipped_files import command_of

SHAPE = (3, 32, 32)


def _remedy() -> str:
    command = command_of('prepare_data.py', 'cifar10')
    return f'`{command}` (or cifar100) puts the published files into place'


def read_batch(path: str | Path) -> dict[str, Any]:
    """Read one file, such as ``data_batch_1`` or ``meta``.

    Pickles of Python 2 and 3, of numpy 1 and 2 and of any protocol are read.
    A flipped bit inside the pixels cannot be noticed; checksums do that.

    Args:
        path: The file.

    Returns:
        What the file holds: strings (byte strings of Python 2 become str,
        as in latin1), numbers, lists, and read-only arrays of numbers.

    Raises:
        ValueError: The file is damaged, holds no dict, or names a global
            that numpy arrays do not need.
    """
    try:
        with open(path, 'rb') as file:
            batch = _Unpickler(file, encoding='latin1').load()
    except OSError:
        raise
    except _RefusedError as error:
        raise ValueError(
            f'{path} names {error}, which a CIFAR file has no use for: it is '
            f'damaged or malicious and was not read; {_remedy()}'
        ) from None
    except Exception as error:
        # Damaged pickles raise nearly everything, KeyError to OverflowError.
        raise ValueError(
            f'{path} is truncated, damaged or no CIFAR file '
            f'({type(error).__name__}: {error}); {_remedy()}'
        ) from error
    if not isinstance(batch, dict):
        raise ValueError(
            f'{path} holds a {type(batch).__name__} instead of a dict; '
            f'{_remedy()}'
        )
    return {
        key.decode('latin1') if isinstance(key, bytes) else key: (
            value.array if isinstance(value, _Array) else value
        )
        for key, value in batch.items()
    }


def read_samples(
    path: str | Path, label_key: str, classes: int
) -> tuple[np.ndarray, list[int]]:
    """Images and labels of one file, checked.

    Args:
        path: The file.
        label_key: ``labels``, or ``fine_labels`` for CIFAR-100.
        classes: Number of classes.

    Returns:
        RGB images, uint8 of shape (N, 32, 32, 3), and N labels.

    Raises:
        ValueError: As in :func:`read_batch`; or images or labels are absent,
            of another form or number, or a label is not in [0, classes).
    """
    batch = read_batch(path)
    for key in ('data', label_key):
        if key not in batch:
            raise ValueError(
                f'{path} has no {key!r}, only {sorted(map(str, batch))}; '
                f'{_remedy()}'
            )
    data, labels = batch['data'], batch[label_key]
    width = int(np.prod(SHAPE))
    if not isinstance(data, np.ndarray):
        raise ValueError(
            f'{path}: data is no array but {type(data).__name__}; {_remedy()}'
        )
    if data.dtype != np.uint8 or data.shape[1:] != (width,):
        raise ValueError(
            f'{path}: data is {data.dtype} of shape {data.shape} instead of '
            f'uint8 of shape (N, {width}); {_remedy()}'
        )
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list):
        raise ValueError(
            f'{path}: {label_key} is no list but {labels!r:.40}; {_remedy()}'
        )
    if len(labels) != len(data):
        raise ValueError(
            f'{path} has {len(data)} images but {len(labels)} labels: row '
            f'{min(len(data), len(labels))} has only one of them; {_remedy()}'
        )
    for row, label in enumerate(labels):
        if not isinstance(label, Integral) or not 0 <= label < classes:
            raise ValueError(
                f'{path}, row {row}: label {label!r} is not one of 0 to '
                f'{classes - 1}; correct the file or name all classes in '
                'metainfo'
            )
    images = data.reshape(-1, *SHAPE).transpose(0, 2, 3, 1).copy()
    return images, [int(label) for label in labels]


class _RefusedError(Exception):
    """A global that is not on the list."""


class _Dtype:
    """Stands for numpy.dtype: numbers only."""

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch('[biuf][1248]', name):
            raise ValueError(f'an array of dtype {name!r}')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray, filled by what the pickle says of it."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        order = 'F' if fortran else 'C'
        self.array = _array(_to_bytes(content), dtype, shape, order)


def _from_buffer(
    content: bytes, dtype: _Dtype, shape: tuple, order: str, *_: Any
) -> _Array:
    filled = _Array()
    filled.array = _array(content, dtype, shape, order)
    return filled


def _scalar(dtype: _Dtype, content: str | bytes) -> int | float | bool:
    return _array(_to_bytes(content), dtype, (), 'C').item()


def _array(
    content: bytes, dtype: _Dtype, shape: tuple, order: str
) -> np.ndarray:
    return np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _to_bytes(content: str | bytes, *_: Any) -> bytes:
    return content.encode('latin1') if isinstance(content, str) else content


# numpy 2 calls `numpy.core` `numpy._core`.
_STANDINS = {
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _Dtype,
    ('numpy.core.multiarray', '_reconstruct'): _Array,
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy.core.numeric', '_frombuffer'): _from_buffer,
    # How Python 3 writes bytes for Python 2.
    ('_codecs', 'encode'): _to_bytes,
}


# The one in C sets aside as much memory as a damaged file happens to ask for.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        key = (module.replace('numpy._core.', 'numpy.core.'), name)
        if key not in _STANDINS:
            raise _RefusedError(f'{module}.{name}')
        return _STANDINS[key]
