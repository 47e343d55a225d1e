"""Configs in plain Python, whose types are classes, and what they dump."""

import pytest
import torch
from mmengine.config import Config

from tests.helpers.datasets import picture_folder

BASE = """
from mmengine.dataset import DefaultSampler
from mmengine.dataset.utils import default_collate
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs
from mmpretrain.models import (
    ClsDataPreprocessor, CrossEntropyLoss, GlobalAveragePooling,
    ImageClassifier, LinearClsHead, ResNet_CIFAR)
from mmpretrain.evaluation import Accuracy
from mmengine.visualization import Visualizer
from torch.optim import SGD

default_scope = None
model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(
        type=ClsDataPreprocessor, mean=[128.0] * 3, std=[64.0] * 3),
    backbone=dict(
        type=ResNet_CIFAR, depth=18, stem_channels=4, base_channels=4,
        num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1, ),
        zero_init_residual=False),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=LinearClsHead, num_classes=4, in_channels=8, topk=(1, ),
        loss=dict(type=CrossEntropyLoss, loss_weight=1.0)))
train_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CustomDataset, data_root=ROOT,
        pipeline=[dict(type=LoadImageFromFile), dict(type=PackInputs)]))
test_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CustomDataset, data_root=ROOT,
        pipeline=[dict(type=LoadImageFromFile), dict(type=PackInputs)]))
test_cfg = dict()
test_evaluator = dict(type=Accuracy, topk=(1, ))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.05))
train_cfg = dict(by_epoch=True, max_epochs=1)
randomness = dict(seed=0)
visualizer = dict(type=Visualizer)
"""
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .base import *  # noqa: F403

from epsd_mm.datasets.samplers import ClassPairBatchSampler
from epsd_mm.distillation import CSKDLoss
from epsd_mm.engine import EPSDHook
from epsd_mm.pruning import ProsPr

train_dataloader.update(batch_sampler=dict(type=ClassPairBatchSampler))
default_hooks = dict(
    epsd=dict(
        type=EPSDHook, sparsity=0.5,
        criterion=dict(type=ProsPr, steps=1, lr=0.01),
        sd_loss=dict(type=CSKDLoss, temperature=2.0),
        draws=1, allow_empty_layers=True))
"""


@pytest.fixture(params=['written', 'dumped'])
def config(request, tmp_path):
    """The path of a config, as it is written or as a run dumps it."""
    pictures = picture_folder(tmp_path / 'pictures')
    (tmp_path / 'base.py').write_text(
        BASE.replace('ROOT', repr(f'{pictures}'))
    )
    path = tmp_path / 'classes.py'
    path.write_text(CONFIG)
    if request.param == 'dumped':
        Config.fromfile(path).dump(tmp_path / 'dumped.py')
        path = tmp_path / 'dumped.py'
        assert "type='epsd_mm.engine.EPSDHook'" in path.read_text()
    return path


def named(tmp_path, what):
    """Or it would write where another run of the process did."""
    name = f'{tmp_path.name}-{what}'
    return [
        '--cfg-options',
        f'experiment_name={name}',
        f'visualizer.name={name}',
    ]


def test_it_trains_resumes_and_tests(config, run, tmp_path, capsys):
    work = tmp_path / 'work'
    options = ['--work-dir', work]
    run('train', config, *options, *named(tmp_path, 'first'))
    saved = torch.load(work / 'epoch_1.pth', weights_only=False)
    assert saved['epsd']['masks']
    again = [*named(tmp_path, 'again'), 'train_cfg.max_epochs=2']
    run('train', config, '--resume', *options, *again)
    assert (work / 'epoch_2.pth').exists()
    tested = [work / 'epoch_1.pth', '--tta', *options, *named(tmp_path, 't')]
    # A test needs no masks but those of the checkpoint.
    run('test', config, *tested, 'default_hooks.epsd.masks=gone.pth')
    run('analysis_tools/get_flops', config, '--shape', '8')
    assert 'backbone' in capsys.readouterr().out


@pytest.mark.parametrize('variant', ['dense', 'prune-only', 'sd-only'])
def test_variants(variant, config, run, tmp_path):
    work = tmp_path / variant
    run(
        *('train', config, '--variant', variant, '--work-dir', work),
        *named(tmp_path, variant),
    )
    saved = torch.load(work / 'epoch_1.pth', weights_only=False)
    masks = saved.get('epsd', {}).get('masks')
    assert (masks is not None) == (variant == 'prune-only')


def test_another_loss_finds_the_scope_of_its_parts(config, tool):
    tool = tool('train')
    argv = [str(config), '--sd-loss', 'PSKDLoss']
    cfg = tool.configure(tool.parse_args(argv))
    assert cfg.default_hooks.epsd.sd_loss.type == 'PSKDLoss'
    assert cfg.train_dataloader.batch_sampler is None
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'
    assert cfg.default_scope == 'mmpretrain'
