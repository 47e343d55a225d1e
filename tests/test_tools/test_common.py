"""What both tools share: the config, and weights that cannot be fetched."""

import urllib.error
from argparse import ArgumentParser

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.config import ConfigDict


def load(common, config, *argv):
    parser = ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('--work-dir')
    common.add_arguments(parser)
    return common.load_config(parser.parse_args([str(config), *argv]))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "default_scope = 'mmdet'\n"
        "default_hooks = dict(epsd=dict(type='EPSDHook', sparsity=0.9))\n"
    )
    return path


def test_options_reach_the_hook(tool, config):
    options = ['--cfg-options', 'default_hooks.epsd.sparsity=0.95']
    cfg = load(tool('common'), config, *options)
    assert cfg.default_hooks.epsd == dict(type='EPSDHook', sparsity=0.95)


def test_work_dir_command_line_then_config_then_name(tool, config):
    common = tool('common')
    assert load(common, config).work_dir == './work_dirs/mine'
    options = ['--cfg-options', 'work_dir=in/config']
    assert load(common, config, *options).work_dir == 'in/config'
    options += ['--work-dir', 'on/line']
    assert load(common, config, *options).work_dir == 'on/line'


def test_mmpretrain_loaders_stack_their_samples(tool, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(
        "default_scope = 'mmpretrain'\n"
        'train_dataloader = dict(batch_size=2, num_workers=0)\n'
        'val_dataloader = None\n'
        'test_dataloader = dict(num_workers=1, pin_memory=False)\n'
    )
    cfg = load(tool('common'), config)
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'
    # torch refuses persistent workers where there are none.
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.test_dataloader.persistent_workers is True
    assert cfg.test_dataloader.pin_memory is False


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, **kwargs):
        raise urllib.error.URLError('no route to host')

    monkeypatch.setattr(mmengine.runner.checkpoint, 'load_url', refuse)


def backbone(checkpoint, **more):
    init = dict(type='Pretrained', checkpoint=checkpoint)
    return ConfigDict(
        type='FasterRCNN',
        init_cfg=dict(type='Normal', layer='Conv2d'),
        backbone=dict(type='ResNet', depth=50, init_cfg=init, **more),
    )


def test_unreachable_weights_are_named_with_a_remedy(tool, no_network):
    model = backbone('torchvision://resnet50', frozen_stages=1, norm_eval=True)
    with pytest.raises(OSError) as error:
        tool('common').fetch_pretrained(model)
    message = str(error.value)
    assert 'torchvision://resnet50' in message and 'no route' in message
    assert 'model.backbone.init_cfg.checkpoint=PATH' in message
    assert (
        '--cfg-options model.backbone.init_cfg=None '
        'model.backbone.zero_init_residual=False '
        'model.backbone.frozen_stages=-1 model.backbone.norm_eval=False'
    ) in message


def test_remedy_for_a_list_of_initialisers(tool, no_network):
    model = backbone('torchvision://resnet18')
    inits = [dict(type='Kaiming'), model.backbone.init_cfg]
    model.backbone.init_cfg = inits
    with pytest.raises(OSError, match=r'backbone\.init_cfg\.1\.checkpoint='):
        tool('common').fetch_pretrained(model)


def test_an_absent_local_file_is_named(tool, tmp_path):
    with pytest.raises(OSError, match='gone.pth'):
        tool('common').fetch_pretrained(backbone(str(tmp_path / 'gone.pth')))


def test_a_local_file_needs_no_network(tool, tmp_path, no_network):
    path = tmp_path / 'here.pth'
    torch.save(dict(state_dict={}), path)
    tool('common').fetch_pretrained(backbone(str(path)))
    tool('common').fetch_pretrained(ConfigDict(type='X', init_cfg=None))
