"""Weights that a model starts from and that cannot be fetched."""

import urllib.error

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.config import ConfigDict

from epsd_mm.engine.pretrained import fetch_pretrained, without_pretrained


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


def test_unreachable_weights_are_named_with_a_remedy(no_network):
    model = backbone('torchvision://resnet50', frozen_stages=1, norm_eval=True)
    with pytest.raises(OSError) as error:
        fetch_pretrained(model)
    message = str(error.value)
    assert 'torchvision://resnet50' in message and 'no route' in message
    assert 'model.backbone.init_cfg.checkpoint=PATH' in message
    assert (
        '--cfg-options model.backbone.init_cfg=None '
        'model.backbone.zero_init_residual=False '
        'model.backbone.frozen_stages=-1 model.backbone.norm_eval=False'
    ) in message


def test_remedy_for_a_list_of_initialisers(no_network):
    model = backbone('torchvision://resnet18')
    inits = [dict(type='Kaiming'), model.backbone.init_cfg]
    model.backbone.init_cfg = inits
    with pytest.raises(OSError, match=r'backbone\.init_cfg\.1\.checkpoint='):
        fetch_pretrained(model)


def test_an_absent_local_file_is_named(tmp_path):
    with pytest.raises(OSError, match='gone.pth'):
        fetch_pretrained(backbone(str(tmp_path / 'gone.pth')))


def test_a_local_file_needs_no_network(tmp_path, no_network):
    path = tmp_path / 'here.pth'
    torch.save(dict(state_dict={}), path)
    fetch_pretrained(backbone(str(path)))
    fetch_pretrained(ConfigDict(type='X', init_cfg=None))


def test_a_config_without_pretrained_loads_nothing_from_elsewhere():
    given = ConfigDict(
        pretrained='torchvision://resnet18',
        backbone=dict(type='TIMMBackbone', pretrained=True),
        neck=[
            dict(init_cfg=[dict(type='Kaiming'), dict(type='Pretrained')]),
            dict(init_cfg=dict(type='PretrainedInit', checkpoint='a.pth')),
        ],
        head=dict(init_cfg=dict(type='Normal')),
    )
    assert without_pretrained(given) == dict(
        pretrained=None,
        backbone=dict(type='TIMMBackbone', pretrained=False),
        neck=[dict(init_cfg=[dict(type='Kaiming')]), dict(init_cfg=None)],
        head=dict(init_cfg=dict(type='Normal')),
    )
    assert given.backbone.pretrained is True
