"""Predictions of TOOD."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from .divisors import DividedAfterwardsMixin
from .labelled import LabelledObserver


class TOODObserver(DividedAfterwardsMixin, LabelledObserver):
    """The sample is an annotated object, see :class:`AssignedObserver`.

    Its prediction is the mean over the anchors that belong to it in this
    step, by the assigner of the epoch: adaptive selection at first, then task
    alignment (Feng et al., *TOOD*, ICCV 2021). Logits are those of the
    classes, before their product with the alignment. For mmdet's
    ``TOODHead``.
    """

    head = 'TOODHead'
    owners = frozenset({'TOODHead'})
    methods = (*LabelledObserver.methods, 'loss_by_feat_single')
    losses = frozenset({'QualityFocalLoss'})

    def classifiers(self) -> Iterable[nn.Module]:
        return [self.model.bbox_head.tood_cls]

    def classification_losses(self) -> Iterable[nn.Module]:
        head = self.model.bbox_head
        return [head.initial_loss_cls, head.loss_cls]

    def tap_targets(self) -> None:
        # At first it asks a method of the class, which no instance hides.
        self.hide('get_targets', self._tapped_batch)

    def _tapped_batch(self, get_targets: Callable) -> Callable:
        def tap(*args: Any, **kwargs: Any) -> tuple:
            with self.listening() as sampled:
                levels = get_targets(*args, **kwargs)
            labels, weights = (torch.cat(x, dim=1) for x in levels[1:3])
            for image, one in enumerate(sampled):
                own = labels[image], weights[image]
                self.note(get_targets, {}, own, [one])
            return levels

        return tap
