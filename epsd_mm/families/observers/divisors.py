"""What a head divides its classification loss by.

In a distributed job that is a mean over the processes, which only the head
has asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .assigned import TargetCall


class DividedLossMixin:
    """Of a head that tells its loss what to divide by, ``avg_factor``."""

    def start(self) -> None:
        super().start()
        self._divisor = None
        hook = self.model.bbox_head.loss_cls.register_forward_pre_hook(
            self._tap_loss, with_kwargs=True
        )
        self._removals.append(hook.remove)

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return self._divisor

    def _tap_loss(self, loss: nn.Module, args: tuple, kwargs: dict) -> None:
        self._divisor = float(kwargs['avg_factor'])


class DividedAfterwardsMixin:
    """Of a head that divides what its loss has given.

    What the loss gave is known, and what the head makes of it.
    """

    def classification_losses(self) -> Iterable[nn.Module]:
        """Of which one is used in a step."""
        return [self.model.bbox_head.loss_cls]

    def start(self) -> None:
        super().start()
        self._given, self._reported = [], None
        for loss in self.classification_losses():
            self.hook(loss, self._tap_loss)
        self.hide('loss_by_feat', self._tapped_losses)

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        # Where nothing was lost nothing belongs to an object.
        if not self._given or not self._reported:
            return 1.0
        return float(torch.stack(self._given).sum()) / self._reported

    def _tap_loss(self, loss: nn.Module, args: tuple, given: Tensor) -> None:
        self._given.append(given.detach().sum())

    def _tapped_losses(self, loss_by_feat: Callable) -> Callable:
        def tap(*args: Any, **kwargs: Any) -> dict:
            losses = loss_by_feat(*args, **kwargs)
            reported = losses['loss_cls']
            levels = [reported] if isinstance(reported, Tensor) else reported
            self._reported = float(
                torch.stack([level.detach().sum() for level in levels]).sum()
            )
            return losses

        return tap
