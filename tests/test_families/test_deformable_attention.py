"""Deformable attention on the copy that is scored calls no kernel."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention

from epsd_mm.families.second_derivatives import make_twice_differentiable
from epsd_mm.pruning.second_order import plain_operators

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU'
)
SHAPES = torch.tensor([[4, 3], [2, 2]])


def attention():
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(
        8, num_heads=2, num_levels=2, num_points=3, batch_first=True
    )
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.3)
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


def test_it_is_mmcvs_and_differentiated_twice():
    stock, layer = attention(), attention()
    make_twice_differentiable(layer)
    inputs = tensors()
    assert torch.allclose(attend(layer, *inputs), attend(stock, *inputs))
    assert layer.state_dict().keys() == stock.state_dict().keys()

    def function(query, value):
        with plain_operators():
            return attend(layer, query, value)

    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_forward_pass_of_ones_own_stays():
    class Own(MultiScaleDeformableAttention):
        def forward(self, query, **kwargs):
            return query + 1

    layer = Own(8, num_heads=2)
    make_twice_differentiable(layer)
    assert 'forward' not in vars(layer)


@needs_gpu
def test_on_a_gpu_it_is_the_kernels_and_differentiated_twice():
    stock, layer = attention().cuda(), attention().cuda()
    make_twice_differentiable(layer)
    inputs = tensors('cuda')
    assert torch.allclose(attend(layer, *inputs), attend(stock, *inputs))
    with plain_operators():
        output = attend(layer, *inputs)
    slopes = torch.autograd.grad(
        output.square().sum(), inputs, create_graph=True
    )
    assert all(slope.requires_grad for slope in slopes)
