"""Let a training set go on where one of its images is damaged."""

from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmengine.logging import MMLogger

from .leaves import leaf_datasets
from .transforms import LoadCheckedImage


def skip_damaged_images(dataset: Any) -> bool:
    """Replace ``LoadImageFromFile`` by one that skips damaged images.

    Without it such an image ends a training, or is trained on with its lower
    part grey. The data set draws another one instead, and the log names the
    file. A set in test mode, a loader of another class and one with
    ``ignore_empty``, which has its own way, stay as they are. Doing it again
    changes nothing. It must happen before worker processes start.

    Args:
        dataset: A training set in any of mmengine's wrappers.

    Returns:
        Whether a pipeline was changed.
    """
    leaves = [leaf for leaf in leaf_datasets(dataset) if _replace(leaf)]
    for leaf in leaves:
        MMLogger.get_current_instance().info(
            'LoadCheckedImage takes the place of LoadImageFromFile in the '
            f'pipeline of {type(leaf).__name__}: damaged images are skipped '
            'and named'
        )
    return bool(leaves)


def _replace(dataset: Any) -> bool:
    pipeline = getattr(dataset, 'pipeline', None)
    transforms = getattr(pipeline, 'transforms', None)
    if getattr(dataset, 'test_mode', True) or not isinstance(transforms, list):
        return False
    places = [i for i, t in enumerate(transforms) if _plain(t)]
    for place in places:
        transforms[place] = LoadCheckedImage.like(transforms[place])
    return bool(places)


def _plain(transform: Any) -> bool:
    return (
        type(transform) is LoadImageFromFile
        and not transform.ignore_empty
        and transform.file_client_args is None
    )
