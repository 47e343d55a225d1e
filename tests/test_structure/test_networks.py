"""Networks of torchvision and timm: pruned, grouped, cut, and the same."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import epsd_mm
from epsd_mm.compaction import shrink
from epsd_mm.pruning import prunable_parameters
from epsd_mm.structure import Channels, find_groups

from ..helpers.narrowing import liven, random_units, with_zeros


def timm_model(name, **options):
    return lambda: timm.create_model(name, num_classes=4, **options)


def torchvision_model(name, **options):
    return lambda: getattr(torchvision.models, name)(num_classes=4, **options)


VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3)
SWIN = dict(img_size=32, window_size=4, embed_dim=16, depths=(1, 1))
SWIN |= dict(num_heads=(2, 4), patch_size=2)
#: How to build one, and of how many of its layers no channel can go.
NETWORKS = {
    'ResNet': (timm_model('resnet10t'), 1),
    'RegNet': (timm_model('regnetx_002'), 1),
    'MobileNetV3': (torchvision_model('mobilenet_v3_small'), 1),
    'SqueezeNet': (torchvision_model('squeezenet1_1'), 1),
    'ShuffleNet': (torchvision_model('shufflenet_v2_x0_5'), 22),
    'DenseNet': (timm_model('densenet121', block_config=(2, 2, 2)), 1),
    'ConvNeXt': (timm_model('convnext_atto'), 29),
    'ViT': (timm_model('vit_tiny_patch16_224', **VIT), 6),
    'Swin': (timm_model('swin_tiny_patch4_window7_224', **SWIN), 7),
    # Its auxiliary heads are called in training alone.
    'GoogLeNet': (torchvision_model('googlenet', init_weights=False), 3),
}


def outputs(model, images):
    """All that it returns; some return more in training."""
    returned = model(images)
    return [returned] if isinstance(returned, torch.Tensor) else [*returned]


def loss(model, batch):
    each = outputs(model, batch[0])
    return sum(F.cross_entropy(logits, batch[1]) for logits in each)


@pytest.fixture(scope='module', params=NETWORKS)
def network(request):
    build, whole = NETWORKS[request.param]
    torch.manual_seed(0)
    size = 64 if request.param in ('GoogLeNet', 'ShuffleNet') else 32
    return liven(build()), torch.randn(2, 3, size, size), whole


def test_single_weights_are_removed(network):
    model, images, _ = network
    model = copy.deepcopy(model)
    masks = epsd_mm.prune(
        model,
        [(images, torch.tensor([0, 1]))],
        sparsity=0.5,
        criterion='SNIP',
        draws=1,
        loss=loss,
    )
    assert masks.keys() == prunable_parameters(model).keys()
    assert masks.kept == round(masks.total / 2)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()


def test_the_network_without_channels_is_the_one_with_zeros(network):
    model, images, whole = network
    groups = find_groups(model, images[:1])
    assert len(groups.whole) == whole, str(groups)
    removed = random_units(groups)
    kept = Channels.all_of(groups)
    for name, units in removed.items():
        kept[name][units] = False
    zeros = with_zeros(copy.deepcopy(model).double(), groups, removed)
    narrow = copy.deepcopy(zeros)
    shrink(narrow, groups, kept)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (zeros, narrow)]
    assert sizes[1] < 0.9 * sizes[0]
    for training in (False, True):
        returned = []
        for one in (zeros, narrow):
            one.train(training)
            for module in one.modules():  # draws other numbers where narrower
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
            torch.manual_seed(0)
            returned.append(outputs(one, images.double()))
        for one, other in zip(*returned, strict=True):
            assert (one - other).abs().max() < 1e-9 * one.abs().max()
