"""What is called in place of mm's functions is the same, and exact."""

from functools import partial

import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    MultiScaleDeformableAttention,
)
from mmcv.ops import deform_conv2d as mmcv_deform_conv2d
from mmcv.ops import modulated_deform_conv2d as mmcv_modulated
from mmdet.models.utils import sigmoid_geometric_mean as mmdet_mean
from torch import nn

from epsd_mm.families.second_derivatives import make_twice_differentiable
from epsd_mm.families.twice_differentiable.calls import (
    replace_calls,
    sigmoid_geometric_mean,
)
from epsd_mm.families.twice_differentiable.deformable_convolution import (
    deform_conv2d,
    modulated_deform_conv2d,
)
from epsd_mm.pruning.stored import changes_to_weights

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU'
)
GEOMETRIES = {
    'plain': dict(),
    'strided and padded': dict(stride=(2, 1), padding=(1, 2)),
    'dilated': dict(dilation=(1, 2), padding=2),
    'in groups': dict(groups=2, padding=1),
    'offsets in groups': dict(deform_groups=2, padding=1),
    'both': dict(groups=4, deform_groups=2, stride=2, padding=1),
}


def inputs(geometry, modulated, dtype=torch.float64):
    """Features, offsets as long as the image, and whatever else there is."""
    torch.manual_seed(0)
    of_offsets, groups = (
        geometry.get(name, 1) for name in ('deform_groups', 'groups')
    )
    like = nn.Conv2d(
        4,
        8,
        (3, 2),
        **{n: v for n, v in geometry.items() if n != 'deform_groups'},
    )
    features = torch.randn(2, 4, 6, 5, dtype=dtype)
    size = like(features.to(like.weight)).shape[2:]
    offset = torch.randn(2, of_offsets * 12, *size, dtype=dtype) * 2
    mask = torch.rand(2, of_offsets * 6, *size, dtype=dtype)
    weight = torch.randn(8, 4 // groups, 3, 2, dtype=dtype)
    bias = torch.randn(8, dtype=dtype)
    found = [features, offset, weight]
    if modulated:
        found = [features, offset, mask, weight, bias]
    return [tensor.requires_grad_() for tensor in found]


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES.values(), ids=GEOMETRIES)
def test_deformable_convolutions_are_mmcvs_once_differentiated(
    geometry, modulated
):
    tensors = inputs(geometry, modulated)
    ours = modulated_deform_conv2d if modulated else deform_conv2d
    theirs = mmcv_modulated if modulated else mmcv_deform_conv2d
    names = ('stride', 'padding', 'dilation', 'groups', 'deform_groups')
    defaults = dict(zip(names, (1, 0, 1, 1, 1)))
    places = [dict(defaults, **geometry)[name] for name in names]
    got, want = (f(*tensors, *places) for f in (ours, theirs))
    assert got.shape == want.shape
    assert torch.allclose(got, want, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(want)
    slopes = [
        torch.autograd.grad((y * weights).sum(), tensors) for y in (got, want)
    ]
    for one, other in zip(*slopes):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('modulated', [False, True])
def test_deformable_convolutions_are_differentiated_twice(modulated):
    geometry = dict(groups=2, deform_groups=2, stride=2, padding=1)
    function = modulated_deform_conv2d if modulated else deform_conv2d
    tensors = inputs(geometry, modulated)
    # Their derivative has steps where a point meets a pixel.
    assert torch.autograd.gradgradcheck(
        partial(function, **geometry), tensors, fast_mode=True
    )


def test_the_geometric_mean_of_tood_is_mmdets_and_differentiated_twice():
    torch.manual_seed(0)
    x, y = (
        (torch.randn(50, dtype=torch.float64) * 4).requires_grad_()
        for _ in range(2)
    )
    got, want = sigmoid_geometric_mean(x, y), mmdet_mean(x, y)
    assert torch.allclose(got, want)
    slopes = [torch.autograd.grad(z.sum(), (x, y)) for z in (got, want)]
    assert all(torch.allclose(*pair) for pair in zip(*slopes))
    assert torch.autograd.gradgradcheck(sigmoid_geometric_mean, (x, y))
    far = torch.full((1,), -200.0, requires_grad=True)
    (slope,) = torch.autograd.grad(sigmoid_geometric_mean(far, far), far)
    assert torch.isfinite(slope).all()


SHAPES = torch.tensor([[4, 3], [2, 2]])


def attention():
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(
        8, num_heads=2, num_levels=2, num_points=3, batch_first=True
    )
    for p in layer.parameters():
        nn.init.normal_(p, std=0.3)
    layer.dropout.p = 0.0
    return layer.double()


def attend(layer, query, value):
    points = torch.tensor([[0.2, 0.7], [0.5, 0.5]]).to(query)
    points = points.view(1, 2, 1, 2).expand(1, 2, 2, 2)
    return layer(
        query,
        value=value,
        reference_points=points,
        spatial_shapes=SHAPES.to(query.device),
        level_start_index=torch.tensor([0, 12], device=query.device),
    )


def tensors(device='cpu'):
    torch.manual_seed(1)
    query = torch.randn(1, 2, 8, dtype=torch.float64, device=device)
    value = torch.randn(1, 16, 8, dtype=torch.float64, device=device)
    return query.requires_grad_(), value.requires_grad_()


def test_deformable_attention_is_mmcvs_and_differentiated_twice():
    stock, layer = attention(), attention()
    make_twice_differentiable(layer)
    assert 'forward' in vars(layer)
    both = tensors()
    assert torch.allclose(attend(layer, *both), attend(stock, *both))
    assert layer.state_dict().keys() == stock.state_dict().keys()
    assert torch.autograd.gradgradcheck(partial(attend, layer), both)


@needs_gpu
def test_on_a_gpu_it_is_the_kernels_and_differentiated_twice():
    stock, layer = attention().cuda(), attention().cuda()
    make_twice_differentiable(layer)
    both = tensors('cuda')
    assert torch.allclose(attend(layer, *both), attend(stock, *both))
    slopes = torch.autograd.grad(
        attend(layer, *both).square().sum(), both, create_graph=True
    )
    assert all(slope.requires_grad for slope in slopes)


class Own(nn.Module):
    """Of a user, whose function has the name of mmcv's."""

    def forward(self, x):
        return deform_conv2d(x)

    def other(self, x, offset, weight):
        return mmcv_deform_conv2d(x, offset, weight)


def deform_conv2d_of_ones_own(x):
    return x + 1


def test_what_has_a_name_of_mms_only_is_left(monkeypatch):
    monkeypatch.setitem(
        Own.forward.__globals__, 'deform_conv2d', deform_conv2d_of_ones_own
    )
    model = Own()
    assert replace_calls(model) == 0
    assert model(torch.ones(1)) == 2


def test_every_method_that_calls_one_has_it_replaced():
    class Sampled(DeformConv2d):
        pass

    model = nn.ModuleList(
        [
            DeformConv2dPack(4, 4, 3),
            ModulatedDeformConv2d(4, 4, 3),
            Sampled(4, 4, 3),
            nn.Conv2d(4, 4, 3),
        ]
    )
    assert replace_calls(model) == 3
    assert ['forward' in vars(part) for part in model] == [True] * 3 + [False]
    # The class, and what others build of it, stay.
    assert 'forward' not in vars(DeformConv2dPack(4, 4, 3))


def test_a_replaced_layer_multiplies_by_its_weight_as_it_is_stored():
    """Which is not tried on a layer whose code is mmcv's."""
    layer = DeformConv2d(4, 4, 3)
    replace_calls(layer)
    assert changes_to_weights(layer) == []

    def forward(x, offset):
        return x * layer.weight.mean()

    layer.forward = forward
    with pytest.raises(Exception, match='offset'):
        changes_to_weights(layer)
