"""How many weights each layer keeps."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .masks import Masks


def select_global(scores: Mapping[str, Tensor], sparsity: float) -> Masks:
    """Keep the highest scores of all layers together.

    Exactly ``round((1 - sparsity) * N)`` weights are kept. Among equal
    scores at the threshold, those of the layer whose name sorts first and
    of the lowest flat index are kept, on every device and in whatever order
    the layers come.

    Args:
        scores: Scores by parameter name; finite.
        sparsity: Fraction of the weights to remove, in [0, 1).

    Returns:
        The masks, in the order of ``scores``.

    Raises:
        ValueError: The sparsity is outside [0, 1).
    """
    check_sparsity(sparsity)
    names = sorted(scores)
    flat = torch.cat([scores[n].detach().float().cpu().ravel() for n in names])
    flat = flat.numpy()
    keep = round((1 - sparsity) * flat.size)
    mask = np.zeros(flat.size, dtype=bool)
    if keep:
        threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
        np.greater(flat, threshold, out=mask)
        ties = np.flatnonzero(flat == threshold)
        mask[ties[: keep - int(mask.sum())]] = True
    sizes = [scores[name].numel() for name in names]
    chunks = dict(zip(names, torch.from_numpy(mask).split(sizes)))
    return Masks(
        {name: chunks[name].reshape(s.shape) for name, s in scores.items()}
    )


def check_sparsity(sparsity: float) -> None:
    """Raise unless ``sparsity`` is a number in [0, 1)."""
    number = isinstance(sparsity, (int, float))
    if not number or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise ValueError(
            f'sparsity={sparsity!r} must be a number in [0, 1): the fraction '
            'of weights to remove, 0.9 for 90 %'
        )
