"""Which images a data set has, and which classes they show."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageTable:
    """The distinct images of a data set that may repeat them.

    Attributes:
        classes: Classes of each image: one, or several where a data set has
            several labels an image; in a detection set one class an
            annotated object, those that are ignored left out.
        image: Image of each index of the data set, shape (len(dataset),).
        index: One index of the data set for each image.
    """

    classes: list[tuple[int, ...]]
    image: np.ndarray
    index: np.ndarray


def image_table(dataset: Sized) -> ImageTable:
    """Look through mmengine's wrappers of data sets to the images.

    Raises:
        TypeError: A data set does not tell the classes of its samples.
    """
    kinds = {base.__name__ for base in type(dataset).__mro__}
    if 'RepeatDataset' in kinds:
        inner = image_table(dataset.dataset)
        image = np.resize(inner.image, len(dataset))
        return ImageTable(inner.classes, image, inner.index)
    if 'ClassBalancedDataset' in kinds:
        inner = image_table(dataset.dataset)
        image = inner.image[np.asarray(dataset.repeat_indices)]
        index = np.unique(image, return_index=True)[1]
        return ImageTable(inner.classes, image, index)
    if 'ConcatDataset' in kinds:
        return _concatenated([image_table(d) for d in dataset.datasets])
    classes = _classes(dataset)
    identity = np.arange(len(dataset))
    return ImageTable(classes, identity, identity)


def _concatenated(parts: list[ImageTable]) -> ImageTable:
    lengths = [len(part.image) for part in parts]
    counts = [len(part.classes) for part in parts]
    starts = np.cumsum([0] + lengths[:-1])
    offsets = np.cumsum([0] + counts[:-1])
    return ImageTable(
        classes=[c for part in parts for c in part.classes],
        image=np.concatenate([p.image + o for p, o in zip(parts, offsets)]),
        index=np.concatenate([p.index + s for p, s in zip(parts, starts)]),
    )


def _classes(dataset: Sized) -> list[tuple[int, ...]]:
    if hasattr(dataset, 'get_data_info'):
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        return [_classes_of(info, dataset) for info in infos]
    if hasattr(dataset, 'get_gt_labels'):
        return [_labels(label) for label in dataset.get_gt_labels()]
    raise TypeError(_UNTOLD.format(type(dataset).__name__))


def _classes_of(info: dict, dataset: Sized) -> tuple[int, ...]:
    try:
        if 'instances' in info:
            return tuple(
                int(instance['bbox_label'])
                for instance in info['instances']
                if not instance.get('ignore_flag', 0)
            )
        return _labels(info['gt_label'])
    except KeyError:
        raise TypeError(_UNTOLD.format(type(dataset).__name__)) from None


def _labels(label: int | Sequence[int]) -> tuple[int, ...]:
    """One label, or several: those of an image with several classes."""
    return tuple(int(one) for one in np.atleast_1d(label))


_UNTOLD = (
    '{} does not tell the classes of its samples: it needs get_data_info() '
    'with gt_label or instances, as the data sets of mmpretrain and mmdet '
    'have it'
)
