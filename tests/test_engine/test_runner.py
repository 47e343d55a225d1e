"""Configs as the tools of mmdet and mmpretrain give them to a runner."""

import subprocess
import sys

import pytest
from mmengine.config import Config

from epsd_mm.engine.runner import complete


def test_mmpretrain_loaders_stack_their_samples():
    cfg = complete(
        Config(
            dict(
                default_scope='mmpretrain',
                train_dataloader=dict(batch_size=2, num_workers=0),
                val_dataloader=None,
                test_dataloader=dict(num_workers=1, pin_memory=False),
            )
        )
    )
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'
    # torch refuses persistent workers where there are none.
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.test_dataloader.persistent_workers is True
    assert cfg.test_dataloader.pin_memory is False


def test_mmdet_loaders_stay_as_they_are():
    loader = dict(batch_size=2, num_workers=0)
    cfg = complete(Config(dict(default_scope='mmdet', val_dataloader=loader)))
    assert cfg.val_dataloader == loader and cfg.launcher == 'none'


def test_detection_without_the_operators_of_mmcv_is_told_the_command(
    monkeypatch,
):
    monkeypatch.setattr('epsd_mm.engine.runner.find_spec', lambda name: None)
    complete(Config(dict(default_scope='mmpretrain')))
    with pytest.raises(ImportError, match='--no-build-isolation onedl-mmcv=='):
        complete(Config(dict(default_scope='mmdet')))
    # Never beside the packages of upstream.
    monkeypatch.setattr(
        'epsd_mm.engine.runner.installed_versions', lambda: dict(mmcv='2.1.0')
    )
    with pytest.raises(ImportError, match="-isolation 'mmcv>=2.1,<2.2'"):
        complete(Config(dict(default_scope='mmdet')))


def test_what_mmdet_lacks_for_others_is_not_said():
    script = (
        'from mmengine.config import Config\n'
        'from epsd_mm.engine.runner import complete\n'
        'complete(Config(dict(default_scope="mmdet")))\n'
        'import mmdet.datasets, mmdet.evaluation\n'
    )
    said = subprocess.run(
        [sys.executable, '-c', script],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (said.stdout, said.stderr) == ('', '')
