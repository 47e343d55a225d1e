"""What identifies the images of a data set across epochs and runs."""

from collections.abc import Iterable, Sized
from hashlib import blake2b

from epsd_mm.distillation.observation import image_key

from .image_table import ImageTable


class SampleKeys:
    """How the images of a data set are known again, wherever it lies.

    An image is known by the end of its path: by as many parts as tell every
    image of the data set from the others, which is its name alone in most.
    A data set that moves as a whole keeps its keys.

    Args:
        dataset: May repeat images (``RepeatDataset``): they count once.
        table: What ``image_table`` tells of it.
        path_parts: Number of these parts; ``None`` for the whole path.

    Attributes:
        fingerprint: One string for images and classes, whatever their
            order.

    Raises:
        ValueError: Images have no key, or two have the same.
    """

    def __init__(
        self, dataset: Sized, table: ImageTable, path_parts: int | None
    ) -> None:
        self._dataset, self._table = dataset, table
        self.path_parts = path_parts
        self.fingerprint = self._fingerprint()

    @classmethod
    def of(cls, dataset: Sized, table: ImageTable) -> 'SampleKeys':
        """With as few parts as tell the images apart."""
        infos = map(dataset.get_data_info, table.index.tolist())
        paths = [info.get('img_path') for info in infos]
        return cls(
            dataset, table, _distinguishing(map(str, filter(None, paths)))
        )

    def matching(self, fingerprint: str) -> 'SampleKeys | None':
        """The keys that a fingerprint is of, if it is of this data set.

        Those of older versions were whole paths.
        """
        if fingerprint == self.fingerprint:
            return self
        older = SampleKeys(self._dataset, self._table, None)
        return older if older.fingerprint == fingerprint else None

    def _fingerprint(self) -> str:
        name = type(self._dataset).__name__
        lines: dict = {}
        for index, classes in zip(
            self._table.index.tolist(), self._table.classes
        ):
            info = self._dataset.get_data_info(index)
            key = image_key(info, self.path_parts)
            if key is None:
                raise ValueError(
                    f'image {index} of {name} has neither img_path nor '
                    'sample_idx to be remembered by: let get_data_info give '
                    'one of them, or train with CSKDLoss'
                )
            if key in lines:
                raise ValueError(
                    f'two images of {name} have the key {key!r}, so that one '
                    'would be taken for the other: list each file once, and '
                    'join data sets without img_path on disk instead of by '
                    'ConcatDataset'
                )
            lines[key] = f'{key}|{" ".join(map(str, classes))}'
        text = '\n'.join(sorted(lines.values()))
        content = text.encode('utf-8', 'surrogateescape')
        return blake2b(content, digest_size=16).hexdigest()


def _distinguishing(paths: Iterable[str]) -> int | None:
    """Parts at the end of paths that tell them apart; None if none do."""
    paths = list(paths)
    deepest = max((path.count('/') for path in paths), default=0)
    for parts in range(1, deepest + 1):
        ends = {image_key(dict(img_path=path), parts) for path in paths}
        if len(ends) == len(paths):
            return parts
    return None
