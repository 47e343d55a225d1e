"""What identifies the images of a data set across epochs."""

from collections.abc import Hashable, Mapping, Sized
from hashlib import blake2b

from epsd_mm.distillation.observation import image_key

from .image_table import image_table


def sample_keys(dataset: Sized) -> dict[Hashable, int | None]:
    """The label of each image by its key.

    Args:
        dataset: May repeat images (``RepeatDataset``): they count once.

    Returns:
        One entry an image; the label is None in a detection set.

    Raises:
        ValueError: Images have no key, or two have the same.
    """
    found: dict[Hashable, int | None] = {}
    for index in image_table(dataset).index:
        info = dataset.get_data_info(int(index))
        key = image_key(info)
        if key is None:
            raise ValueError(
                f'image {index} of {type(dataset).__name__} has neither '
                'img_path nor sample_idx to be remembered by'
            )
        if key in found:
            raise ValueError(
                f'two images of {type(dataset).__name__} have the key '
                f'{key!r}, so that one would be taken for the other: list '
                'each file once, and join data sets without img_path on disk '
                'instead of by ConcatDataset'
            )
        found[key] = info.get('gt_label')
    return found


def fingerprint(labels: Mapping[Hashable, int | None]) -> str:
    """One string for a data set, whatever the order of its images.

    Args:
        labels: What :func:`sample_keys` gives.
    """
    lines = sorted(f'{key}|{label}' for key, label in labels.items())
    text = '\n'.join(lines).encode('utf-8', 'surrogateescape')
    return blake2b(text, digest_size=16).hexdigest()
