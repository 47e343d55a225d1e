"""What README.md shows works as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from epsd_mm.engine import EPSDHook
from epsd_mm.pruning import Masks

README = (Path(__file__).parents[1] / 'README.md').read_text()


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', README, re.S)


def test_first_two_commands_are_demo_and_test():
    assert blocks('bash')[0].split('\n')[:2] == ['make demo', 'make test']


def test_config_lines_turn_a_config_of_mmdet(tmp_path):
    base = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
    lines = blocks('python')[0]
    assert 5 <= len(lines.splitlines()) <= 10
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {base!r}\n{lines}')
    cfg = Config.fromfile(str(path))
    settings = dict(cfg.default_hooks.epsd)
    assert settings.pop('type') == 'EPSDHook'
    assert EPSDHook(**settings).settings.sparsity == 0.9
    sampler = cfg.train_dataloader.batch_sampler
    assert sampler.type == 'ClassPairBatchSampler'
    assert sampler.base.type == 'AspectRatioBatchSampler'


def test_example_prunes_a_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = [
        (torch.randn(8, 3, 2, 2), torch.randint(4, (8,))) for _ in range(4)
    ]
    names = dict(model=model, loader=loader, optimizer=optimizer)
    exec(blocks('python')[1], names)
    masks = Masks.load('masks.pth')
    assert masks.sparsity == pytest.approx(0.9, abs=0.01)
    names['loss'](model, loader[0]).backward()
    optimizer.step()
    for name, weight in model.named_parameters():
        if name in masks:
            assert not weight[~masks[name]].any()
            assert weight[masks[name]].any()
