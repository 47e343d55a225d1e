"""Classification data sets that mmpretrain lacks or does otherwise.

Importing this module imports mmpretrain: a config that uses one of them says
``custom_imports=dict(imports=['epsd_mm', 'epsd_mm.datasets.classification'])``
"""

from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import (
    CIFAR10_CATEGORIES,
    CIFAR100_CATEGORIES,
)
from mmpretrain.registry import DATASETS

from epsd_mm.shipped_files import command_of

from .cifar_batches import read_samples


class _PreparedDataset(BaseDataset):
    """A data set that ``tools/prepare_data.py`` puts into place.

    Args:
        data_root: Folder of the data set.
        split: One of the splits of the class.
        kwargs: Options of mmpretrain's ``BaseDataset``: metainfo, pipeline,
            indices, … ``test_mode``, in which no image may be left out, is
            on by default for every split but ``train``.

    Raises:
        ValueError: There is no such split, or it holds no image.
        FileNotFoundError: A file is absent.
    """

    #: What prepare_data calls the data set.
    name: str
    splits: tuple[str, ...]

    def __init__(
        self, data_root: str | Path, split: str = 'train', **kwargs: Any
    ) -> None:
        if split not in self.splits:
            raise ValueError(
                f'split={split!r} of {type(self).__name__} must be one of '
                f'{", ".join(self.splits)}'
            )
        self.split = split
        self.root = Path(data_root).expanduser()
        kwargs.setdefault('test_mode', split != 'train')
        super().__init__(
            ann_file='', data_root=str(self.root), data_prefix='', **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """What a pipeline starts from, for each image."""
        samples = self._samples()
        if not samples:
            raise ValueError(
                f'{self.root} holds no image of split={self.split!r}: '
                f'{self._remedy()}'
            )
        return samples

    def extra_repr(self) -> list[str]:
        """What ``repr`` says beside the numbers of samples and classes."""
        return [f'Split: \t{self.split}', f'Root of dataset: \t{self.root}']

    def _samples(self) -> list[dict]:
        raise NotImplementedError

    def _existing(self, path: Path) -> Path:
        if not path.exists():
            raise FileNotFoundError(
                f'{path} does not exist: {self._remedy()}; check data_root'
            )
        return path

    def _remedy(self) -> str:
        command = command_of('prepare_data.py', self.name)
        return f'`{command}` puts the data set into place'


@DATASETS.register_module()
class CIFAR10Batches(_PreparedDataset):
    """CIFAR-10 in its published files, whole or a part of it.

    Unlike mmpretrain's ``CIFAR10`` it downloads nothing, compares no
    checksums (preparing the data does), takes files of any number of rows,
    and reads them without running what they name. Samples have ``img``, RGB,
    uint8, of shape (32, 32, 3), and ``gt_label``.

    Args:
        data_root: Folder that holds ``cifar-10-batches-py``.
        split: ``train`` or ``test``.
        kwargs: Options of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: A file is absent.
        ValueError: A file is damaged or unsafe, or a label is out of range.
    """

    METAINFO = {'classes': CIFAR10_CATEGORIES}
    name = 'cifar10'
    splits = ('train', 'test')
    folder = 'cifar-10-batches-py'
    files = dict(
        train=tuple(f'data_batch_{i}' for i in range(1, 6)),
        test=('test_batch',),
    )
    label_key = 'labels'

    def _samples(self) -> list[dict]:
        # mmengine packs the images into one buffer.
        samples = []
        for name in self.files[self.split]:
            path = self._existing(self.root / self.folder / name)
            pairs = zip(*read_samples(path, self.label_key, len(self.CLASSES)))
            samples += [dict(img=img, gt_label=label) for img, label in pairs]
        return samples


@DATASETS.register_module()
class CIFAR100Batches(CIFAR10Batches):
    """CIFAR-100 with its 100 fine labels, likewise.

    ``data_root`` holds ``cifar-100-python``.
    """

    METAINFO = {'classes': CIFAR100_CATEGORIES}
    name = 'cifar100'
    folder = 'cifar-100-python'
    files = dict(train=('train',), test=('test',))
    label_key = 'fine_labels'


@DATASETS.register_module()
class TinyImageNet(_PreparedDataset):
    """Tiny-ImageNet: 64x64 JPEGs, some of them grey, 200 classes.

    The layout is that of the published archive::

        tiny-imagenet-200
        ├── wnids.txt                 one class a line
        ├── words.txt                 wnid <tab> names
        ├── train/<wnid>/images/*.JPEG
        └── val
            ├── images/*.JPEG
            └── val_annotations.txt   file <tab> wnid <tab> box

    Labels count the wnids of ``wnids.txt`` in sorted order, whatever their
    order in the file, as everything that reads the folders of ``train`` does
    (torchvision's and mmpretrain's folder data sets). Boxes are not read.

    Args:
        data_root: The folder ``tiny-imagenet-200``.
        split: ``train`` or ``val``; the labels of ``test`` are unpublished.
        kwargs: Options of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: A file or an image is absent.
        ValueError: A class or a line is not understood.
    """

    name = 'tiny_imagenet'
    splits = ('train', 'val')

    def __init__(
        self, data_root: str | Path, split: str = 'train', **kwargs: Any
    ) -> None:
        if split == 'test':
            raise ValueError(
                "split='test' of Tiny-ImageNet has no published labels: "
                "evaluate on split='val'"
            )
        super().__init__(data_root, split, **kwargs)

    def _samples(self) -> list[dict]:
        wnids = self._existing(self.root / 'wnids.txt').read_text().split()
        labels = {wnid: i for i, wnid in enumerate(sorted(set(wnids)))}
        if self.CLASSES is None:
            self._metainfo['classes'] = self._words(labels)
        if len(self.CLASSES) != len(labels):
            raise ValueError(
                f'metainfo names {len(self.CLASSES)} classes, but '
                f'{self.root / "wnids.txt"} lists {len(labels)}: name one '
                'for each of them, in sorted order'
            )
        find = self._train if self.split == 'train' else self._val
        return [
            dict(img_path=str(path), gt_label=labels[wnid])
            for path, wnid in find(labels)
        ]

    def _words(self, labels: dict[str, int]) -> tuple[str, ...]:
        path = self._existing(self.root / 'words.txt')
        lines = path.read_text().splitlines()
        words = dict(line.split('\t', 1) for line in lines if '\t' in line)
        missing = [wnid for wnid in labels if wnid not in words]
        if missing:
            raise ValueError(
                f'{path} has no name for {", ".join(missing[:5])}: add a '
                'line "wnid<tab>name" for each'
            )
        return tuple(words[wnid].strip() for wnid in labels)

    def _train(self, labels: dict[str, int]) -> list[tuple[Path, str]]:
        found = []
        for wnid in labels:
            folder = self._existing(self.root / 'train' / wnid / 'images')
            images = sorted(folder.glob('*.JPEG'))
            if not images:
                raise FileNotFoundError(
                    f'{folder} holds no *.JPEG: complete it or take {wnid} '
                    'out of wnids.txt'
                )
            found += [(image, wnid) for image in images]
        return found

    def _val(self, labels: dict[str, int]) -> list[tuple[Path, str]]:
        lines = self._existing(self.root / 'val' / 'val_annotations.txt')
        folder = self._existing(self.root / 'val' / 'images')
        present = {image.name for image in folder.iterdir()}
        found = []
        for number, line in enumerate(lines.read_text().splitlines(), 1):
            image, wnid = (line.split('\t') + [''])[:2]
            where = f'{lines}, line {number}'
            if wnid not in labels:
                raise ValueError(
                    f'{where}: class {wnid!r} is not in wnids.txt; add it '
                    'there or remove the line'
                )
            if image not in present:
                raise FileNotFoundError(
                    f'{where}: {folder / image} is absent; remove the line '
                    f'or run `{command_of("prepare_data.py", self.name)}`'
                )
            found.append((folder / image, wnid))
        return found
