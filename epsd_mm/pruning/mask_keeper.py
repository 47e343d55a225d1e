"""Keeps removed weights at zero while a model trains."""

import torch
from torch import nn
from torch.optim import Optimizer

from .masks import Masks


class MaskKeeper:
    """Multiplies weights by their masks, now and after optimiser steps.

    Masking gradients would not do: momentum and weight decay revive
    weights. The weights are changed in place and the masks are held outside
    the model, so its names, its state dict and whatever averages or wraps
    it see an ordinary model.

    Args:
        model: The model, unwrapped.
        masks: Of some or all of its weights.

    Raises:
        ValueError: A mask has no weight, or one of another shape.
    """

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        params = dict(model.named_parameters())
        masks.check_fits({n: p for n, p in params.items() if n in masks})
        self.masks = masks
        self._weights = [params[name] for name in masks]
        self._factors = [
            mask.to(weight.device, weight.dtype)
            for mask, weight in zip(masks.values(), self._weights)
        ]
        self._handles: list = []
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Set removed weights to zero."""
        torch._foreach_mul_(self._weights, self._factors)

    def watch(self, *optimizers: Optimizer) -> None:
        """Apply the masks after each real step of these optimisers.

        The hook fires once a step under mixed precision and gradient
        accumulation too.
        """
        self._handles += [
            optimizer.register_step_post_hook(lambda *unused: self.apply())
            for optimizer in optimizers
        ]

    def release(self) -> None:
        """Stop applying the masks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def measured_sparsity(self) -> float:
        """Fraction of zeros among the prunable weights, as they are."""
        nonzero = torch.stack([w.count_nonzero() for w in self._weights])
        return 1 - int(nonzero.sum()) / self.masks.total
