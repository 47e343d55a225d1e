"""Batches of images and, for each, a partner that shares its class."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..image_table import image_table
from .base import WrappingBatchSampler


@DATA_SAMPLERS.register_module()
class ClassPairBatchSampler(WrappingBatchSampler):
    """Appends to each batch of ``B`` indices those of ``B`` partners.

    The partner of an image is another image of its class, drawn uniformly
    (CS-KD, Yun et al., CVPR 2020). In a detection set the class is that of
    one of the image's objects, also drawn uniformly, of those that another
    image shows: our choice. An image that is the only one of its classes, or
    shows no object, is its own partner, seen under another augmentation.

    ``batch_size`` stays the number of images that carry the task loss.

    Args:
        sampler: The index sampler; its ``dataset`` tells the classes. Its
            ``seed``, ``epoch`` and ``rank``, where it has them, seed the
            draw of partners.
        batch_size: ``B``.
        base: Config of the batch sampler that makes the main batches.
            Defaults to consecutive indices.
        drop_last: Drop a last batch that is smaller; only without ``base``,
            which has its own.
    """

    does = 'appends a partner to each image'

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        base: dict | None = None,
        drop_last: bool | None = None,
    ) -> None:
        super().__init__(sampler, batch_size, batch_size, base, drop_last)
        self._table = image_table(sampler.dataset)
        members = defaultdict(set)
        for image, classes in enumerate(self._table.classes):
            for label in classes:
                members[label].add(image)
        self._members = {
            label: np.array(sorted(images))
            for label, images in members.items()
        }

    def __iter__(self) -> Iterator[list[int]]:
        fields = ('seed', 'epoch', 'rank')
        seed = [getattr(self.sampler, f, None) or 0 for f in fields]
        generator = np.random.default_rng(seed)
        for batch in self.base:
            yield batch + [self._partner(i, generator) for i in batch]

    def _partner(self, index: int, generator: np.random.Generator) -> int:
        image = self._table.image[index]
        classes = self._table.classes[image]
        several = [m for m in map(self._members.get, classes) if len(m) > 1]
        if not several:
            return index
        members = several[generator.integers(len(several))]
        # Uniform over the others: skip the place of the image itself.
        place = generator.integers(len(members) - 1)
        place += place >= np.searchsorted(members, image)
        return int(self._table.index[members[place]])
