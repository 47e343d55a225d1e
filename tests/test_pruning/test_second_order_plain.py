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


EPS = 1e-3


def vectors():
    """One of length 0, one below ``eps``, and longer ones."""
    torch.manual_seed(1)
    x = torch.randn(5, 3).double()
    x[0], x[1] = 0, x[1] * EPS / 9
    return x


def piecewise(x):
    """``x / max(|x|, eps)``, by rows that lie on one piece each."""
    short = x[:2] / EPS
    return torch.cat([short, x[2:] / x[2:].square().sum(1, True).sqrt()])


def unit(x):
    with plain_operators():
        return F.normalize(x, dim=-1, eps=EPS)


def test_unit_vectors_are_torchs_and_differentiated_twice():
    x = vectors().requires_grad_()
    assert torch.allclose(unit(x), F.normalize(x, dim=-1, eps=EPS))
    derivatives = []
    for function in (unit, piecewise):
        y = x * 1
        loss = (function(y).cumsum(1) ** 3).sum()
        (first,) = torch.autograd.grad(loss, y, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), y)
        derivatives.append(torch.stack([first, second]))
    assert torch.allclose(*derivatives, rtol=1e-12)
    assert derivatives[0].isfinite().all()


@pytest.mark.parametrize('options', [dict(p=1), dict(p=2, dim=0), dict(dim=1)])
def test_vectors_are_normalised_as_torch_does(options):
    x = vectors()
    with plain_operators():
        got = F.normalize(x, **options)
    assert torch.allclose(got, F.normalize(x, **options), rtol=1e-14)


def padded(x):
    """Rows of zeros among others."""
    return x * (x.sum(dim=1, keepdim=True) > 0)


class Unit(nn.Module):
    def forward(self, x):
        return F.normalize(padded(x), dim=1)


class Norm(nn.Module):
    def forward(self, x):
        return x * padded(x).norm(dim=1, keepdim=True)


def test_vectors_of_zeros_leave_the_walk_finite():
    assert all(g.isfinite().all() for g in walk(Unit()).values())


def test_where_a_second_derivative_is_no_number_the_remedy_is_said():
    with pytest.raises(FloatingPointError, match='norm at zero.*first_order='):
        walk(Norm())
    first = walk(Norm(), first_order=True)
    assert all(g.isfinite().all() for g in first.values())
