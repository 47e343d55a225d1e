"""A compact network from its config: plain, and strict about its weights."""

import copy
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.utils import register_all_modules

from epsd_mm.compaction import shrink
from epsd_mm.engine.safe_loading import CheckpointError
from epsd_mm.families import channel_groups, let_heads_go

from ..helpers.models import build, tiny_classifier_config
from ..helpers.narrowing import liven, random_units, with_zeros
from .test_shrink import channels_without


def swin_config():
    arch = dict(embed_dims=16, depths=[2, 2], num_heads=[4, 8])
    backbone = dict(type='SwinTransformer', arch=arch, img_size=32)
    backbone.update(window_size=4, drop_path_rate=0.0, out_indices=(1,))
    cfg = dict(type='ImageClassifier', backbone=backbone)
    cfg['neck'] = dict(type='GlobalAveragePooling')
    cfg['head'] = dict(type='LinearClsHead', num_classes=4, in_channels=32)
    return cfg


def cut(config):
    """The network with zeros, the one that was cut, and its config."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    model = liven(build(config(), 'mmpretrain')).double()
    groups = channel_groups(model, 32)
    removed = random_units(groups)
    zeros = with_zeros(model, groups, removed)
    table = shrink(model, groups, channels_without(groups, removed))
    cfg = config()
    return zeros, model, compact(table, cfg.pop('type'), cfg)


def compact(table, of, cfg):
    return dict(type='Compact', of=of, channels=table.to_config(), **cfg)


def built(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(copy.deepcopy(cfg)).double()


@pytest.fixture(scope='module')
def classifier():
    return cut(tiny_classifier_config)


@pytest.mark.parametrize('config', [tiny_classifier_config, swin_config])
def test_it_computes_what_the_network_with_zeros_does(config):
    zeros, narrow, cfg = cut(config)
    model = built(cfg).eval()
    model.load_state_dict(narrow.state_dict())
    let_heads_go(zeros)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    one, other = (m.eval().extract_feat(images)[0] for m in (model, zeros))
    if one.shape != other.shape:  # without channels that the head reads
        one, other = model.head((one,)), zeros.head((other,))
    assert torch.allclose(one, other, 1e-9, 1e-9)


@pytest.mark.parametrize('part', ['', 'backbone'])
def test_weights_of_the_whole_network_are_refused(classifier, part):
    zeros, _, cfg = classifier
    model = built(cfg)
    own, whole = model.get_submodule(part), zeros.get_submodule(part)
    with pytest.raises(CheckpointError, match='has the shape .* compact'):
        load_state_dict(own, whole.state_dict(), strict=False)
    with pytest.raises(CheckpointError, match='load a checkpoint of this'):
        own.load_state_dict(whole.state_dict())


def test_weights_for_other_classes_are_taken_but_for_the_last_layer(
    classifier,
):
    _, narrow, cfg = classifier
    cfg = copy.deepcopy(cfg)
    cfg['head']['num_classes'] = 7
    model = built(cfg)
    load_state_dict(model, narrow.state_dict(), strict=False)
    name = 'backbone.conv1.weight'
    assert torch.equal(model.state_dict()[name], narrow.state_dict()[name])
    assert model.head.fc.weight.shape == (7, narrow.head.fc.in_features)


def test_it_is_copied_averaged_and_pickled_as_any_model(classifier):
    zeros, narrow, cfg = classifier
    model = built(cfg)
    average = ExponentialMovingAverage(model).module
    for other in (
        copy.deepcopy(model),
        average,
        pickle.loads(pickle.dumps(model)),
    ):
        other.load_state_dict(narrow.state_dict())
        with pytest.raises(CheckpointError):
            other.load_state_dict(zeros.state_dict())


def test_a_table_for_another_depth_is_one_sentence(classifier):
    cfg = copy.deepcopy(classifier[2])
    cfg['backbone']['base_channels'] = 8
    cfg['head']['in_channels'] = 16
    with pytest.raises(ValueError, match='does not fit the model'):
        built(cfg)


def test_without_weights_to_start_from_layers_draw_at_their_own_width(
    classifier,
):
    """torch's bound is 1 / sqrt(inputs of an output), larger than before."""
    _, narrow, cfg = classifier
    torch.manual_seed(0)
    model = built(cfg)
    name = 'backbone.layer2.1.conv2'
    weight = model.get_submodule(name).weight.detach()
    inputs = weight[0].numel()
    assert inputs < cfg['backbone']['base_channels'] * 2 * 9
    largest = float(weight.abs().max()) * inputs**0.5
    assert 0.95 < largest <= 1
    pretrained = built(dict(cfg, init_cfg=dict(type='Pretrained')))
    part = pretrained.get_submodule(name).weight.detach()
    assert float(part.abs().max()) * inputs**0.5 < 0.95
