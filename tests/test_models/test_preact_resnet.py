"""The pre-activation networks are those of the papers."""

import pytest
import torch
from torch import nn

from epsd_mm.models import PreActResNet, WideResNet


def count(model):
    return sum(p.numel() for p in model.parameters())


def convolutions(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_weights_of_preact_resnet18():
    """The sum of its layers, and 11.17 million with ten classes."""
    stem = 3 * 64 * 9 + 2 * 64
    weights = stem
    channels = 64
    for width in (64, 128, 256, 512):
        first = channels * width * 9 + width * width * 9
        second = 2 * width * width * 9
        shortcut = channels * width if channels != width else 0
        norms = 2 * (channels + width + width + width)
        weights += first + second + shortcut + norms
        channels = width
    model = PreActResNet(18)
    assert count(model) == weights
    assert round((weights + 512 * 10 + 10) / 1e6, 2) == 11.17


@pytest.mark.parametrize(
    'depth, widen_factor, millions',
    [(40, 1, 0.6), (40, 2, 2.2), (16, 8, 11.0), (22, 8, 17.2)],
)
def test_sizes_of_wide_resnets_are_those_of_their_paper(
    depth, widen_factor, millions
):
    """Table 4 of Zagoruyko & Komodakis, with ten classes."""
    features = 64 * widen_factor
    weights = count(WideResNet(depth, widen_factor)) + features * 10 + 10
    assert round(weights / 1e6, 1) == millions


@pytest.mark.parametrize('blocks', [1, 3])
def test_both_ways_of_counting_the_depth(blocks):
    """With or without the shortcuts, and the classifier."""
    by_authors = WideResNet(6 * blocks + 4, 2)
    as_resnet = WideResNet(6 * blocks + 2, 2)
    shapes = [c.weight.shape for c in convolutions(by_authors)]
    assert shapes == [c.weight.shape for c in convolutions(as_resnet)]
    assert len(shapes) == 6 * blocks + 4
    shortcuts = [shape for shape in shapes if shape[-1] == 1]
    assert len(shapes) - len(shortcuts) + 1 == 6 * blocks + 2


@pytest.mark.parametrize('depth', [2, 4, 18, 21, 24, 27])
def test_other_depths_of_wide_resnets_are_refused(depth):
    with pytest.raises(ValueError, match=f'depth={depth}.*6n'):
        WideResNet(depth, 2)


def test_other_depths_of_preact_resnets_are_refused():
    with pytest.raises(ValueError, match=r'depth=20.*\[18, 34\]'):
        PreActResNet(20)


@pytest.mark.parametrize('size', [32, 64])
def test_shapes_of_the_features(size):
    images = torch.rand(2, 3, size, size)
    (features,) = PreActResNet(18, base_channels=4)(images)
    assert features.shape == (2, 32, size // 8, size // 8)
    (features,) = WideResNet(10, 2)(images)
    assert features.shape == (2, 128, size // 4, size // 4)


def by_formula(block, x):
    """``s(x) + conv2(a2(conv1(a1(x))))``, layer by layer."""
    active = block.norm1(x).clamp(min=0)
    identity = x if block.shortcut is None else block.shortcut(active)
    inner = block.norm2(block.conv1(active)).clamp(min=0)
    return identity + block.conv2(inner)


@pytest.mark.parametrize('stem_norm', [True, False])
@pytest.mark.parametrize('final_norm', [True, False])
def test_order_of_the_layers(stem_norm, final_norm):
    model = PreActResNet(
        18, base_channels=4, stem_norm=stem_norm, final_norm=final_norm
    )
    x = torch.randn(2, 3, 16, 16)
    (got,) = model(x)
    want = model.stem.conv(x)
    if stem_norm:
        want = model.stem.bn(want).clamp(min=0)
    for stage in model.stages:
        for block in stage:
            want = by_formula(block, want)
    if final_norm:
        want = model.norm(want).clamp(min=0)
    assert torch.allclose(got, want, atol=1e-5)
    assert (got < 0).any() != final_norm
    norms = 1 + 2 * 8 + 1 - (not stem_norm) - (not final_norm)
    modules = list(model.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == norms


def test_shortcuts_are_convolved_only_where_the_shape_changes():
    blocks = [b for stage in PreActResNet(18, 4).stages for b in stage]
    shapes = [b.shortcut and tuple(b.shortcut.weight.shape) for b in blocks]
    none = None
    assert shapes[:4] == [none, none, (8, 4, 1, 1), none]
    assert shapes[4:] == [(16, 8, 1, 1), none, (32, 16, 1, 1), none]
    wide = [b for stage in WideResNet(10, 2).stages for b in stage]
    assert all(b.shortcut is not None for b in wide)


def test_dropout_is_between_the_convolutions_and_only_in_training():
    model, plain = WideResNet(10, 1, dropout=0.5), WideResNet(10, 1)
    plain.load_state_dict(model.state_dict())
    model.eval(), plain.eval()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(model(x)[0], plain(x)[0])
    seen = []
    model.train()
    for stage in model.stages:
        stage[0].conv2.register_forward_pre_hook(
            lambda module, args: seen.append((args[0] == 0).float().mean())
        )
        stage[0].norm2.bias.data.fill_(10)  # nothing is cut off by the ReLU
    model(x)
    assert len(seen) == 3
    assert all(0.4 < share < 0.6 for share in seen)


@pytest.mark.parametrize(
    'build', [lambda: PreActResNet(18, 8), lambda: WideResNet(10, 2)]
)
def test_initial_weights_are_kaimings_by_fan_out(build):
    model = build()
    model.init_weights()
    for conv in convolutions(model):
        fan_out = conv.weight[0, 0].numel() * conv.out_channels
        want = (2 / fan_out) ** 0.5
        assert float(conv.weight.detach().std()) == pytest.approx(
            want, rel=0.25
        )
