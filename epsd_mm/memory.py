"""What a file claims to hold, beside what it holds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def check_memory(value: Any) -> None:
    """Raise where a tensor has more values than there is memory behind it.

    A tensor with strides of zero is a few bytes in a file, whatever its
    shape says, and gigabytes once it is copied or compared.

    Args:
        value: Tensors, in mappings and sequences nested at will.

    Raises:
        ValueError: One has, or is not dense.
    """
    if isinstance(value, Mapping):
        for item in value.values():
            check_memory(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_memory(item)
    elif isinstance(value, Tensor):
        _check(value)


def _check(tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_meta:
        raise ValueError(f'a tensor is {tensor.layout} on {tensor.device}')
    claimed = tensor.numel() * tensor.element_size()
    held = tensor.untyped_storage().nbytes()
    if claimed > held:
        raise ValueError(
            f'a tensor of shape {tuple(tensor.shape)} asks for {claimed:,} '
            f'bytes, of which {held:,} are there'
        )
