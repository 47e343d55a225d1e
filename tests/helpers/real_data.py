"""Archives of real images beside the repository, where they are present."""

import tarfile
from pathlib import Path

import pytest
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

FOLDER = Path(__file__).parents[3] / 'shared' / 'data'


def needs(name):
    """Skip a test where an archive is absent."""
    return pytest.mark.skipif(
        not (FOLDER / name).is_file(), reason=f'no ../shared/data/{name}'
    )


def extracted(name, folder, part=''):
    """Unpack what lies in the folder ``part`` of an archive."""
    with tarfile.open(FOLDER / name) as archive:
        members = [m for m in archive if m.name.startswith(part)]
        archive.extractall(folder, members, filter='data')
    return folder


def first_batch(dataset, size=8):
    """The first batch, as a config's data loader would make it."""
    return next(iter(DataLoader(dataset, size, collate_fn=default_collate)))
