"""CIFAR-10 and CIFAR-100, in the pickle form for Python."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from epsd_mm.datasets.cifar_batches import read_batch, read_samples

from .layout import Archive, Layout, Overlay, Survey

_SITE = 'https://www.cs.toronto.edu/~kriz'


class _CIFAR(Layout):
    """What both have in common.

    Attributes:
        batches: The folder of the archive.
        splits: Files of each part.
        meta: The file with the names of the classes.
        label_key: What the labels are called.
        classes: Number of classes.
    """

    batches = ''
    splits: Mapping[str, tuple[str, ...]] = {}
    meta = ''
    label_key = ''
    classes = 0
    published = {'train images': 50000, 'test images': 10000}

    @property
    def expects(self) -> str:
        return f'expected {self.batches}/{{{", ".join(self.checksums)}}}'

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        known = name.parent.name == self.batches
        known = known and name.name in self.checksums
        return PurePosixPath(name.name) if known else None

    def inspect(self, tree: Overlay) -> Survey:
        counts, problems = {}, []
        for part, names in self.splits.items():
            counts[part] = 0
            for name in names:
                path = tree.find(name)
                if path is None:
                    problems.append(f'{name} is missing')
                    continue
                try:
                    _, labels = read_samples(
                        path, self.label_key, self.classes
                    )
                    counts[part] += len(labels)
                except ValueError as error:
                    problems.append(self._named(error, path))
        path = tree.find(self.meta)
        if path is None:
            problems.append(f'{self.meta} is missing')
        else:
            try:
                read_batch(path)
            except ValueError as error:
                problems.append(self._named(error, path))
        return Survey(counts, problems)

    def _named(self, error: ValueError, path: Path) -> str:
        """The message, with the file's name as in the archive."""
        return str(error).replace(str(path), f'{self.batches}/{path.name}')

    def needs(self, leaf: Mapping) -> list[str]:
        return [self.batches]


class CIFAR10(_CIFAR):
    """CIFAR-10: ten classes, six batches."""

    name = config_root = 'cifar10'
    title = 'CIFAR-10'
    batches = 'cifar-10-batches-py'
    folder = f'cifar10/{batches}'
    types = ('CIFAR10', 'CIFAR10Batches')
    splits = {
        'train images': tuple(f'data_batch_{i}' for i in range(1, 6)),
        'test images': ('test_batch',),
    }
    meta = 'batches.meta'
    label_key = 'labels'
    classes = 10
    archives = (
        Archive(
            'cifar-10-python.tar.gz',
            'md5:c58f30108f718f92721af3b95e74349a',
            f'{_SITE}/cifar-10-python.tar.gz',
        ),
    )
    checksums = {
        'data_batch_1': 'md5:c99cafc152244af753f735de768cd75f',
        'data_batch_2': 'md5:d4bba439e000b95fd0a9bffe97cbabec',
        'data_batch_3': 'md5:54ebc095f3ab1f0389bbae665268c751',
        'data_batch_4': 'md5:634d18415352ddfa80567beed471001a',
        'data_batch_5': 'md5:482c414d41f54cd18b22e5b47cb7c3cb',
        'test_batch': 'md5:40351d587109b95175f43aff81a1287e',
        'batches.meta': 'md5:5ff9c542aee3614f3951f8cda6e48888',
    }


class CIFAR100(_CIFAR):
    """CIFAR-100: a hundred fine classes, two files."""

    name = config_root = 'cifar100'
    title = 'CIFAR-100'
    batches = 'cifar-100-python'
    folder = f'cifar100/{batches}'
    types = ('CIFAR100', 'CIFAR100Batches')
    splits = {'train images': ('train',), 'test images': ('test',)}
    meta = 'meta'
    label_key = 'fine_labels'
    classes = 100
    archives = (
        Archive(
            'cifar-100-python.tar.gz',
            'md5:eb9058c3a382ffc7106e4002c42a8d85',
            f'{_SITE}/cifar-100-python.tar.gz',
        ),
    )
    checksums = {
        'train': 'md5:16019d7e3df5f24257cddd939b257f8d',
        'test': 'md5:f0ef6b0ae62326f3e7ffdfab6717acfc',
        'meta': 'md5:7973b15100ade9c7d40fb424638fde48',
    }
