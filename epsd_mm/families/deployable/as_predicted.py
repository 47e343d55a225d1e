"""What mm itself finds in images, for comparison with a deployable module."""

from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.families.tensor_mode import samples

from .candidates import Selected


@torch.no_grad()
def as_predicted(
    model: nn.Module,
    module: nn.Module,
    image: Tensor,
    size: Tensor | None = None,
) -> Tensor | Selected:
    """The outputs of a module, by ``predict`` of the model it was made from.

    Args:
        model: Of mmdet or mmpretrain, in evaluation mode.
        module: What :func:`as_deployed` returned for it.
        image: What that takes.
        size: Likewise.
    """
    inputs = module.pixels(image)
    if size is None:
        found = model.predict(inputs)
        return torch.stack([sample.pred_score for sample in found])
    given = [_sample(model, *each) for each in zip(inputs, size, strict=True)]
    found = model.predict(inputs, given, rescale=False)
    return _stacked(
        [sample.pred_instances[: module.count] for sample in found]
    )


def _sample(model: nn.Module, image: Tensor, size: Tensor) -> Any:
    (sample,) = samples(model, image[None])
    sides = tuple(size.long().tolist())
    sample.set_metainfo(dict(img_shape=sides, ori_shape=sides))
    return sample


def _stacked(found: list[Any]) -> Selected:
    """With rows of no object, so that images have equally many."""
    count = max(map(len, found))
    boxes = torch.zeros(len(found), count, 4)
    scores = torch.zeros(len(found), count)
    labels = torch.full((len(found), count), -1)
    for row, instances in enumerate(found):
        there = slice(len(instances))
        boxes[row, there] = instances.bboxes
        scores[row, there] = instances.scores
        labels[row, there] = instances.labels
    return Selected(boxes, scores, labels)
