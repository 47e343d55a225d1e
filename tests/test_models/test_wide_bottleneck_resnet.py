"""The bottleneck network of DLB."""

import pytest
import torch
from torch import nn

from epsd_mm.models import WideBottleneckResNet, WideResNet


def test_weights_are_those_of_the_formula():
    weights = 3 * 16 * 9 + 2 * 16
    channels = 16
    for base in (16, 32, 64):
        wide, out = 8 * base, 4 * base
        for block in range(2):
            weights += channels * wide + wide * wide * 9 + wide * out
            weights += 2 * (wide + wide + out)
            if block == 0:
                weights += channels * out + 2 * out
            channels = out
    model = WideBottleneckResNet(20, 8)
    assert sum(p.numel() for p in model.parameters()) == weights


@pytest.mark.parametrize('blocks', [1, 2])
def test_depth_counts_the_layers_but_not_the_shortcuts(blocks):
    model = WideBottleneckResNet(9 * blocks + 2, 1)
    counted = [
        name
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and 'shortcut' not in name
    ]
    assert len(counted) + 1 == 9 * blocks + 2


@pytest.mark.parametrize('depth', [2, 16, 22, 28])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f'depth={depth}.*9n'):
        WideBottleneckResNet(depth)


def test_shape_of_the_features():
    (features,) = WideBottleneckResNet(11, 2)(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 256, 8, 8)


def test_the_activation_follows_the_sum():
    model = WideBottleneckResNet(11, 2)
    (features,) = model(torch.rand(2, 3, 16, 16))
    assert (features >= 0).all() and (features == 0).any()
    block = model.stages[0][0]
    x = torch.randn(2, 16, 8, 8)
    branch = block.conv3.bn(
        block.conv3.conv(block.conv2(block.conv1(x.clone())))
    )
    identity = block.shortcut.bn(block.shortcut.conv(x))
    want = (branch + identity).clamp(min=0)
    assert torch.allclose(block(x), want, atol=1e-6)


def test_it_is_not_the_network_of_wide_residual_networks():
    sizes = [
        sum(p.numel() for p in model.parameters())
        for model in (WideBottleneckResNet(20, 8), WideResNet(20, 8))
    ]
    assert sizes[0] < sizes[1] / 2
