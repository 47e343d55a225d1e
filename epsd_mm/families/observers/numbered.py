"""Predictions of heads that only say the class of what each belongs to."""

from typing import Any

import torch
from torch import Tensor

from .assigned import Assigned, AssignedObserver, TargetCall
from .divisors import DividedLossMixin


class NumberedObserver(DividedLossMixin, AssignedObserver):
    """Of a head that gives a prediction the class of its object, not more.

    The head is asked twice: as it is, and with numbers of the objects in
    place of their classes. No assigner and no sampler has a part in it.
    """

    def read(self, call: TargetCall) -> Assigned:
        classes = self.model.bbox_head.num_classes
        truth = call.arguments['gt_instances'].clone()
        # Beyond the class that stands for the background.
        first = classes + 1
        truth.labels = first + torch.arange(
            len(truth), device=truth.labels.device
        )
        labels = _flat(call.targets)
        again = call.ask(**{**call.arguments, 'gt_instances': truth})
        priors = (labels < classes).nonzero()[:, 0]
        return Assigned(
            priors,
            _flat(again)[priors] - first,
            labels[priors],
            torch.ones_like(priors),
        )


def _flat(targets: tuple[Any, ...]) -> Tensor:
    """Labels of all predictions, level after level and row after row."""
    labels = targets[0]
    if isinstance(labels, Tensor):
        return labels
    return torch.cat([level.flatten() for level in labels])
