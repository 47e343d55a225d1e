"""What every test starts from."""

import os

os.environ.setdefault('MPLBACKEND', 'Agg')

import random

import numpy as np
import pytest
import torch
import yapf.yapflib.yapf_api
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

# Before any test imports mmdet or mmpretrain: it repairs torchvision.
import epsd_mm  # noqa: F401


@pytest.fixture(autouse=True, scope='session')
def unformatted_configs():
    """Every runner formats its config five times, a second or two in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            yapf.yapflib.yapf_api,
            'FormatCode',
            lambda text, **style: (text, False),
        )
        yield


@pytest.fixture(autouse=True, scope='module')
def no_default_scope():
    """No file depends on which files ran before it; runners set a scope."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def no_visualizer():
    """The hook that paints takes the last one, not that of its runner."""
    Visualizer._instance_dict.clear()


@pytest.fixture(autouse=True, scope='module')
def same_random_numbers_for_fixtures():
    """What a file shares does not depend on which files ran before it."""
    _seed()


@pytest.fixture(autouse=True)
def same_random_numbers():
    """No test depends on which tests ran before it."""
    _seed()


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def default_dtype():
    """Sets the type of new tensors, for one test."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that share the tests have to call them by the same names."""
    moving = [item.nodeid for item in items if ' at 0x' in item.nodeid]
    if moving:
        raise pytest.UsageError(
            f'the names of these tests hold an address: {moving}'
        )
