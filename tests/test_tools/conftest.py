"""Loads the tools as modules and draws the little data they run on."""

import importlib.util
import sys
from pathlib import Path

import pytest

from epsd_mm.datasets.drawn_voc import generate_voc

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def tool(monkeypatch):
    """``tool('train')`` is tools/train.py as a module."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.syspath_prepend(str(TOOLS / 'analysis_tools'))

    def load(name):
        spec = importlib.util.spec_from_file_location(
            f'tools_{name}', TOOLS / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run(tool, monkeypatch):
    """``run('train', config, '--amp')`` runs a tool in this process."""

    def run_main(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        return tool(name).main()

    return run_main


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    """A root with VOCdevkit: 8 images to train on, 4 to test on."""
    root = tmp_path_factory.mktemp('drawn')
    generate_voc(root, train=8, test=4, size=64)
    return root


@pytest.fixture
def demo_options(drawn, tmp_path):
    """Settings that make the demo's config quick and name it uniquely."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [
        '--cfg-options',
        f'experiment_name={tmp_path.name}',
        *(f'{x}.dataset.data_root={drawn}/VOCdevkit/' for x in loaders),
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'param_scheduler.0.total_steps=1',
        'default_hooks.checkpoint.interval=1',
        'model.backbone.base_channels=8',
        'model.neck.in_channels=[8,16,32,64]',
    ]
