"""Boxes that spoil the training of a detector, and taking them out."""

import math
from collections.abc import Sequence
from typing import Any

from .leaves import leaf_datasets

#: What may be done about them.
CHOICES = ('error', 'drop')


def check_bad_boxes(bad_boxes: str) -> None:
    """Raise where a setting ``bad_boxes`` is none of :data:`CHOICES`.

    Raises:
        ValueError: Gives the value and the choices.
    """
    if bad_boxes not in CHOICES:
        raise ValueError(
            f'bad_boxes={bad_boxes!r} must be one of {", ".join(CHOICES)}'
        )


def box_fault(box: Sequence[float], size: tuple[float, float]) -> str:
    """What is wrong with a box, or nothing.

    Args:
        box: left, top, right, bottom in pixels from 0.
        size: Width and height of its image.
    """
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return 'a coordinate is not finite: correct it or remove the object'
    if right < left:
        return 'its right edge is left of its left edge: exchange them'
    if bottom < top:
        return 'its bottom is above its top: exchange them'
    if right == left or bottom == top:
        return 'it has no area: correct it or remove the object'
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return (
            f'it is entirely outside of the image of {size[0]} x {size[1]}: '
            'correct box or size, or remove the object'
        )
    return ''


def drop_bad_boxes(dataset: Any) -> int:
    """Take objects with bad boxes out of a data set that is loaded.

    Their images stay, as background where no object is left, and so do the
    order and number of the samples. It must happen before worker processes
    and samplers see the data set.

    Args:
        dataset: A training set of mmdet in any of mmengine's wrappers.

    Returns:
        Number of objects that were taken out.

    Raises:
        TypeError: A data set does not keep its samples as mmengine's
            ``BaseDataset`` does.
    """
    return sum(_drop(leaf) for leaf in leaf_datasets(dataset))


def _drop(dataset: Any) -> int:
    if not hasattr(dataset, 'get_data_info'):
        return 0
    samples, dropped = [], 0
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        sample.pop('sample_idx', None)  # which each reading adds
        instances = sample.get('instances', [])
        good = [one for one in instances if not _bad(one, sample)]
        if len(good) < len(instances):
            dropped += len(instances) - len(good)
            sample['instances'] = good
        samples.append(sample)
    if not dropped:
        return 0
    if not hasattr(dataset, '_serialize_data'):
        raise TypeError(
            f'{type(dataset).__name__} does not keep its samples as '
            "mmengine's BaseDataset does, so that bad boxes cannot be "
            'dropped: correct the annotations'
        )
    dataset.data_list = samples
    if dataset.serialize_data:
        dataset.data_bytes, dataset.data_address = dataset._serialize_data()
    return dropped


def _bad(instance: dict, sample: dict) -> bool:
    box = instance.get('bbox', ())
    size = (sample.get('width', math.inf), sample.get('height', math.inf))
    # Rotated boxes have five numbers or eight.
    return len(box) == 4 and bool(box_fault(box, size))
