"""Predictions of heads that label and weigh all of them, image by image."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .assigned import Assigned, AssignedObserver, TargetCall


class LabelledObserver(AssignedObserver):
    """Of a head that has a sampler, and then a label for each prediction.

    Among its answers are the labels of all predictions, those of the
    background too, and next to them their weights, however many more there
    are before or behind.
    """

    def read(self, call: TargetCall) -> Assigned:
        labels, weights = labels_and_weights(call.targets)
        classes = self.model.bbox_head.num_classes
        return Assigned.by_labels(labels, weights, call.sampled, classes)


def labels_and_weights(targets: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The first integers among the targets of an image, and what follows.

    Raises:
        TypeError: There are none.
    """
    for labels, weights in pairwise(targets):
        if isinstance(labels, Tensor) and labels.dtype == torch.long:
            return labels, weights
    raise TypeError(
        'the head labels no prediction with the number of its class: '
        'self-distillation cannot use it; for pruning without '
        'self-distillation set sd_loss=None'
    )
