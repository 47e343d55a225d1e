"""What identifies the images of a data set across epochs."""

from collections.abc import Sized
from hashlib import blake2b

from epsd_mm.distillation.observation import image_key

from .image_table import ImageTable


def fingerprint(dataset: Sized, table: ImageTable) -> str:
    """One string for a data set's images, whatever their order.

    Args:
        dataset: May repeat images (``RepeatDataset``): they count once.
        table: What ``image_table`` tells of it.

    Raises:
        ValueError: Images have no key, or two have the same.
    """
    lines: dict[str, str] = {}
    for index, classes in zip(table.index.tolist(), table.classes):
        key = image_key(dataset.get_data_info(index))
        if key is None:
            raise ValueError(
                f'image {index} of {type(dataset).__name__} has neither '
                'img_path nor sample_idx to be remembered by'
            )
        if key in lines:
            raise ValueError(
                f'two images of {type(dataset).__name__} have the key '
                f'{key!r}, so that one would be taken for the other: list '
                'each file once, and join data sets without img_path on disk '
                'instead of by ConcatDataset'
            )
        lines[key] = f'{key}|{" ".join(map(str, classes))}'
    text = '\n'.join(sorted(lines.values()))
    content = text.encode('utf-8', 'surrogateescape')
    return blake2b(content, digest_size=16).hexdigest()
