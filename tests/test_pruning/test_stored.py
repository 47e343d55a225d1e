"""A layer that multiplies by something else than its stored weight is found.

Otherwise a weight that is removed would still take part.
"""

import copy

import pytest
import torch
from mmcv.cnn import Linear
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from mmcv.ops import MaskedConv2d, ModulatedDeformConv2dPack, SAConv2d
from mmdet.models.layers import NormedConv2d, NormedLinear
from torch import nn

from epsd_mm.pruning.stored import UncallableError, changes_to_weights
from tests.helpers.layers import (
    CHANGING,
    PLAIN,
    NormedInputLinear,
    ScaledStdConv2d,
    StdConv2d,
    TwoInputLinear,
    kind_of,
)

MM_CHANGING = [
    lambda: ConvWS2d(3, 4, 3),
    lambda: ConvAWS2d(3, 4, 3),
    lambda: SAConv2d(3, 4, 3, padding=1, use_deform=True),
    lambda: NormedConv2d(3, 4, 3),
    lambda: NormedLinear(3, 4),
]
MM_PLAIN = [
    lambda: Linear(3, 4),
    lambda: Conv2dAdaptivePadding(3, 4, 3, stride=2),
    lambda: MaskedConv2d(3, 4, 3),
    lambda: ModulatedDeformConv2dPack(3, 4, 3, padding=1),
]


@pytest.mark.parametrize('build', CHANGING + MM_CHANGING, ids=kind_of)
def test_changed_weights_are_found(build):
    assert changes_to_weights(build())


@pytest.mark.parametrize('build', PLAIN + MM_PLAIN, ids=kind_of)
def test_what_happens_to_inputs_and_outputs_does_not_matter(build):
    assert changes_to_weights(build()) == []


def test_the_operators_are_named():
    assert changes_to_weights(ConvWS2d(3, 4, 3)) == [
        'Add',
        'Div',
        'Mean',
        'Std',
        'Sub',
    ]


@pytest.mark.parametrize('kind', [ConvWS2d, StdConv2d, ScaledStdConv2d])
def test_in_these_layers_a_removed_weight_would_take_part(kind):
    """Why they are refused: all links of an input are removed, yet..."""
    layer = kind(3, 4, 3)
    layer.weight.data[:, 1] = 0
    x = torch.randn(1, 3, 5, 5)
    other = x.clone()
    other[:, 1] += 1
    assert (layer(x) - layer(other)).abs().max() > 0.1


def test_a_change_in_one_instance_s_forward_is_found():
    layer = nn.Linear(3, 4)
    assert changes_to_weights(layer) == []
    layer.forward = lambda x: x @ (layer.weight / layer.weight.norm()).t()
    assert 'Div' in changes_to_weights(layer)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_in_any_precision(dtype):
    assert changes_to_weights(CHANGING[0]().to(dtype))
    assert not changes_to_weights(NormedInputLinear(3, 4).to(dtype))


def test_a_layer_that_takes_two_inputs_cannot_be_told():
    with pytest.raises(UncallableError, match="TypeError: .*argument: 'y'"):
        changes_to_weights(TwoInputLinear(3, 4))


def test_a_change_before_a_call_fails_is_found():
    """Without padding, this layer's own average does not fit."""
    layer = SAConv2d(3, 4, 3)
    with pytest.raises(RuntimeError):
        layer(torch.randn(1, 3, 5, 5))
    assert 'Sub' in changes_to_weights(layer)


def test_trying_leaves_no_trace():
    layer = ConvAWS2d(3, 4, 3).eval()
    layer.norm = nn.BatchNorm2d(4)
    calls = []
    layer.register_forward_hook(lambda *args: calls.append(args))
    layer.forward = lambda x: layer.norm(ConvAWS2d.forward(layer, x))
    before = copy.deepcopy(layer.state_dict())
    state = torch.get_rng_state()
    assert changes_to_weights(layer)
    assert torch.equal(torch.get_rng_state(), state)
    assert not calls and not layer.training and layer.norm.training
    assert all(p.grad is None for p in layer.parameters())
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])
