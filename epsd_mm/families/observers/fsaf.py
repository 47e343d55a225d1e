"""Predictions of FSAF."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .assigned import Assigned, TargetCall
from .labelled import LabelledObserver


class FSAFObserver(LabelledObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the anchors of the level with the lowest
    loss, which alone count (Zhu et al., *Feature Selective Anchor-Free
    Module*, CVPR 2019). For mmdet's ``FSAFHead``.
    """

    head = 'FSAFHead'
    owners = frozenset({'FSAFHead', 'AnchorHead'})
    methods = (
        *LabelledObserver.methods,
        'loss_by_feat_single',
        'reweight_loss_single',
    )

    def start(self) -> None:
        super().start()
        self._selected: list[Tensor] = []
        self.hide('reweight_loss_single', self._tapped_selection)

    def read(self, call: TargetCall) -> Assigned:
        labels, _, *_, objects = call.targets
        selected = self._of_images(len(labels))[call.image]
        priors = selected.nonzero()[:, 0]
        # It has no other weights than 0, of what it ignores.
        return Assigned(
            priors, objects[priors], labels[priors], torch.ones_like(priors)
        )

    def divisor(self, calls: Sequence[TargetCall]) -> float:
        return float(sum(level.sum() for level in self._selected))

    def _of_images(self, predictions: int) -> Tensor:
        """Which predictions count, shape (B, N)."""
        total = sum(len(level) for level in self._selected)
        images = total // predictions
        levels = [level.view(images, -1) for level in self._selected]
        return torch.cat(levels, dim=1)

    def _tapped_selection(self, reweight: Callable) -> Callable:
        def tap(*args: Any, **kwargs: Any) -> tuple:
            result = reweight(*args, **kwargs)
            self._selected.append(result[-1])
            return result

        return tap
