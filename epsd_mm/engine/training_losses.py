"""A model on a batch of its loader, as training calls it."""

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from epsd_mm.structure.prices import multiplications


def training_losses(batch: Any, model: nn.Module) -> Any:
    """The losses of a batch, which is left as it was."""
    data = model.data_preprocessor(copy.deepcopy(batch), training=True)
    return model(**data, mode='loss')


def training_multiplications(batch: Any, model: nn.Module) -> dict[str, float]:
    """How often an entry of each weight multiplies in training on a batch.

    That does not depend on widths: times the entries that are left it is
    the multiply-adds of any network that was made of this one.

    Returns:
        As :func:`~epsd_mm.structure.prices.multiplications`.
    """
    with torch.no_grad():
        return multiplications(model, partial(training_losses, batch, model))
