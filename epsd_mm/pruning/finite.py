"""Whether numbers are numbers."""

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite, in one pass."""
    # NaN is the least and the greatest where there is one.
    return not tensor.numel() or all(map(torch.isfinite, tensor.aminmax()))
