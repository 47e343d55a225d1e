"""Operators that torch differentiates once are differentiated twice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from epsd_mm.pruning import ModuleObjective, meta_gradient
from epsd_mm.pruning.second_order import SecondOrderError, plain_operators


def inputs():
    """On every piece, and on both kinks."""
    torch.manual_seed(0)
    return torch.cat([torch.tensor([-3.0, 3.0]), torch.randn(60) * 3]).double()


def hard_sigmoid(x):
    with plain_operators():
        return F.hardsigmoid(x)


def in_place(x):
    x = x * 1
    with plain_operators():
        output = nn.Hardsigmoid(inplace=True)(x)
    assert output.data_ptr() == x.data_ptr()
    return x


@pytest.mark.parametrize('own', [hard_sigmoid, in_place])
def test_hard_sigmoid_is_torchs_and_differentiated_twice(own):
    x = inputs().requires_grad_()
    assert torch.equal(own(x), F.hardsigmoid(x))
    # Torch has its sixth in single precision.
    for single in (x.float(), x):
        gradients = [
            torch.autograd.grad(f(single).square().sum(), single)[0]
            for f in (own, F.hardsigmoid)
        ]
        assert torch.allclose(*gradients, rtol=1e-6, atol=0)
    inner = inputs()[2:].requires_grad_()
    assert torch.autograd.gradcheck(own, inner)
    assert torch.autograd.gradgradcheck(own, inner)


def walk(*layers, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), *layers, nn.Linear(5, 1)).double()
    batches = [[torch.randn(8, 3).double() * 4] for _ in range(2)]
    return meta_gradient(
        ModuleObjective(model, lambda model, x: model(x).square().mean()),
        dict(model.named_parameters()),
        iter(batches),
        steps=1,
        lr=0.1,
        **options,
    ).gradient


class Affine(nn.Module):
    def forward(self, x):
        return F.relu6(x + 3) / 6


class Checkpointed(nn.Hardsigmoid):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def test_a_walk_through_it_is_exact():
    got, want = walk(nn.Hardsigmoid()), walk(Affine())
    assert all(torch.allclose(got[n], want[n], rtol=1e-12) for n in want)
    first = walk(nn.Hardsigmoid(), first_order=True)
    assert not torch.allclose(first['0.weight'], want['0.weight'], rtol=0.01)


def test_under_checkpointing_it_is_left_to_torch_and_named():
    with pytest.raises(SecondOrderError, match='Hardsigmoid'):
        walk(Checkpointed())
