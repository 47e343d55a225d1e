"""Numbers by which the objects of an image are known in every epoch.

Extra fields of boxes fall out of step where a transform drops boxes, and
mmdet packs none; labels survive everything. So the number of an object
travels in the upper bits of its label, from the loading of the annotations
to the packing.
"""

from collections.abc import Iterator
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.logging import MMLogger

from .leaves import leaf_datasets

_SHIFT = 16
# They put objects of several images into one.
_MIXING = ('Mosaic', 'MixUp', 'CopyPaste')


class NumberObjects(BaseTransform):
    """Follows ``LoadAnnotations``: an object's place goes into its label."""

    def transform(self, results: dict) -> dict:
        """Change ``gt_bboxes_labels``, shape (n,)."""
        for place in range(len(results['gt_bboxes_labels'])):
            results['gt_bboxes_labels'][place] |= place << _SHIFT
        return results


class UnpackObjectNumbers(BaseTransform):
    """Follows ``PackDetInputs``: ``object_ids`` beside the old labels."""

    def transform(self, results: dict) -> dict:
        """Change ``gt_instances`` and ``ignored_instances``."""
        sample = results['data_samples']
        for part in (sample.gt_instances, sample.ignored_instances):
            if 'labels' in part:
                part.object_ids = part.labels >> _SHIFT
                part.labels = part.labels & ((1 << _SHIFT) - 1)
        return results


def number_objects(dataset: Any) -> bool:
    """Let a detection set number the objects of each image.

    Two transforms are inserted into the pipelines of the data sets under
    any wrappers; ``gt_instances.object_ids`` then holds the place of each
    object in the annotations of its image, through flips, crops and
    whatever else drops boxes. Doing it again changes nothing. It must
    happen before worker processes start.

    Args:
        dataset: A training set of mmdet.

    Returns:
        Whether a pipeline was changed.

    Raises:
        ValueError: A pipeline mixes images, or does not load or pack
            annotations in its own list of transforms.
    """
    leaves = [(leaf, _transforms(leaf)) for leaf in leaf_datasets(dataset)]
    # All of them are looked at before any is changed.
    found = [
        (leaf, transforms, *_places(transforms, type(leaf).__name__))
        for leaf, transforms in leaves
        if not any(isinstance(t, NumberObjects) for t in transforms)
    ]
    for leaf, transforms, loading, packing in found:
        if any(isinstance(t, NumberObjects) for t in transforms):
            continue  # a list that two data sets share
        transforms.insert(packing + 1, UnpackObjectNumbers())
        transforms.insert(loading + 1, NumberObjects())
        MMLogger.get_current_instance().info(
            'inserted NumberObjects after LoadAnnotations and '
            'UnpackObjectNumbers after PackDetInputs in the pipeline of '
            f'{type(leaf).__name__}: each object keeps its number'
        )
    return bool(found)


def check_numbering(transforms: list, owner: str) -> None:
    """Raise where objects could not be numbered by a list of transforms.

    Args:
        transforms: Of a pipeline.
        owner: Whose pipeline it is, for messages.

    Raises:
        ValueError: As :func:`number_objects`.
    """
    _places(transforms, owner)


def _transforms(dataset: Any) -> list:
    pipeline = getattr(dataset, 'pipeline', None)
    transforms = getattr(pipeline, 'transforms', None)
    if not isinstance(transforms, list):
        raise ValueError(
            f'{type(dataset).__name__} has no pipeline of transforms, in '
            'which the objects of its images could be numbered: give it one, '
            'or train with CSKDLoss'
        )
    return transforms


def _places(transforms: list, owner: str) -> tuple[int, int]:
    """Where loading and packing are."""
    for transform in _nested(transforms):
        if any(word in type(transform).__name__ for word in _MIXING):
            raise ValueError(
                f'{type(transform).__name__} puts objects of several images '
                f'into one in the pipeline of {owner}, so that no object is '
                'known by its image: remove it, or train with CSKDLoss'
            )
    loading = _place(transforms, 'LoadAnnotations', owner)
    return loading, _place(transforms, 'PackDetInputs', owner)


def _place(transforms: list, name: str, owner: str) -> int:
    for place, transform in enumerate(transforms):
        if any(base.__name__ == name for base in type(transform).__mro__):
            return place
    raise ValueError(
        f'the pipeline of {owner} has no {name} in its own '
        f'list ({", ".join(type(t).__name__ for t in transforms)}), so that '
        'its objects cannot be numbered: add it, or train with CSKDLoss'
    )


def _nested(transforms: Any) -> Iterator[Any]:
    if not isinstance(transforms, (list, tuple)):
        yield transforms
        transforms = getattr(transforms, 'transforms', ())
    for transform in transforms:
        yield from _nested(transform)
