"""From proposals or anchors to the objects that they are assigned to."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from epsd_mm.distillation.observation import Observation, at_least_float32


@dataclass(frozen=True)
class Positives:
    """``n`` proposals or anchors, each assigned to an object.

    Attributes:
        logits: Shape (n, C).
        labels: Class of the object, int64, shape (n,).
        weights: Share in the head's classification loss, shape (n,).
        images: Position of the image in the batch, int64, shape (n,).
        objects: Position of the object in its image, int64, shape (n,).
        stages: Stage of a cascade, int64, shape (n,); 0 without one.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor
    images: Tensor
    objects: Tensor
    stages: Tensor

    @classmethod
    def join(cls, parts: Sequence['Positives']) -> 'Positives':
        """All of them, in their order."""
        return cls(
            *(
                torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )


def observe_objects(
    positives: Positives,
    data_samples: Sequence,
    image_keys: Sequence[Hashable | None],
    **options: Any,
) -> Observation:
    """One row an object, or an object and stage.

    Its logits are the mean of those of its positives, its weight the sum of
    theirs. An object without positives is absent.

    Args:
        positives: Of all images of the batch.
        data_samples: The samples of the batch.
        image_keys: What identifies their images.
        options: Further fields of the observation.
    """
    logits = at_least_float32(positives.logits)
    identity = torch.stack(
        [positives.stages, positives.images, positives.objects], dim=1
    )
    identity, group = identity.unique(dim=0, return_inverse=True)
    count = len(identity)
    summed = logits.new_zeros(count, logits.shape[1])
    summed = summed.index_add(0, group, logits)
    members = torch.bincount(group, minlength=count).to(logits)
    weights = positives.weights.new_zeros(count)
    labels = positives.labels.new_zeros(count)
    stages, images, objects = identity.unbind(dim=1)
    return Observation(
        logits=summed / members[:, None],
        labels=labels.scatter(0, group, positives.labels),
        weights=weights.index_add(0, group, positives.weights),
        images=images,
        stages=stages,
        objects=objects,
        keys=_keys(identity, data_samples, image_keys),
        **options,
    )


def _keys(
    identity: Tensor,
    data_samples: Sequence,
    images: Sequence[Hashable | None],
) -> list[Hashable] | None:
    """``(image, object, stage)`` where the objects are numbered."""
    truths = [sample.gt_instances for sample in data_samples]
    if not all('object_ids' in truth for truth in truths):
        return None
    numbers = [truth.object_ids.tolist() for truth in truths]
    if None in images:
        return None
    return [
        (images[image], numbers[image][place], stage)
        for stage, image, place in identity.tolist()
    ]
