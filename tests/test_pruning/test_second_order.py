"""Operators that drop second-order terms are found and named."""

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from epsd_mm.pruning import ModuleObjective, meta_gradient
from epsd_mm.pruning.second_order import SecondOrderError, second_order_check


class Once(Function):
    """A square whose backward cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Detached(Once):
    """The same, by detaching what it returns."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return (2 * x * grad).detach()


class Twice(Once):
    """The same, done well."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


def checked_gradient(loss, x):
    with second_order_check(loss):
        return torch.autograd.grad(loss, x, create_graph=True)


def leaf():
    return torch.randn(3, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('operator', [Once, Detached])
def test_operators_that_drop_terms_are_named(operator):
    x = leaf()
    loss = (operator.apply(x) ** 2).sum()
    with pytest.raises(SecondOrderError, match=f'{operator.__name__}Backward'):
        checked_gradient(loss, x)


@pytest.mark.parametrize('operator', [Once, Detached])
def test_operators_that_a_constant_follows_are_named(operator):
    """Their gradient is a constant, what they make of it is not."""
    x = leaf()
    weights = torch.rand(3, dtype=torch.float64)
    loss = (operator.apply(x) * weights).sum() / 2
    with pytest.raises(SecondOrderError, match=f'{operator.__name__}Backward'):
        checked_gradient(loss, x)


def test_the_gradient_is_the_same_with_and_without_the_check():
    x = leaf()
    loss = nn.functional.softplus(x * x).prod()
    (watched,) = checked_gradient(loss, x)
    (want,) = torch.autograd.grad(loss, x, create_graph=True)
    assert torch.equal(watched, want)
    products = [
        torch.autograd.grad(gradient.square().sum(), x, retain_graph=True)[0]
        for gradient in (watched, want)
    ]
    assert torch.equal(*products)


def test_the_operator_that_cuts_is_named_and_no_other():
    x = leaf()
    loss = (Twice.apply(Detached.apply(Once.apply(x))) ** 2).sum()
    with pytest.raises(SecondOrderError) as error:
        checked_gradient(loss, x)
    assert 'DetachedBackward: the' in str(error.value)
    assert 'TwiceBackward' not in str(error.value)


@pytest.mark.parametrize(
    'loss',
    [
        lambda x: x.sum(),
        lambda x: (Twice.apply(x) ** 2).sum(),
        lambda x: nn.functional.relu(x * x - 0.1).square().sum(),
        lambda x: (x * torch.tensor([0.0, 1, 2])).square().sum(),
        lambda x: torch.cat([x, x[:1], x.detach()]).square().max(),
        lambda x: x.clamp(-0.1, 0.1).softmax(0).log().mean(),
        lambda x: (
            torch.where(x > 0, x**2, x**3)
            .index_select(0, torch.tensor([0, 2, 2]))
            .sum()
            ** 2
        ),
    ],
)
def test_no_false_alarm(loss):
    x = leaf()
    (gradient,) = checked_gradient(loss(x), x)
    assert gradient.shape == x.shape


def test_the_check_leaves_no_hook_behind():
    x = leaf()
    loss = (Once.apply(x) ** 2).sum()
    for _ in range(2):
        with pytest.raises(SecondOrderError):
            checked_gradient(loss, x)
    torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(KeyError), second_order_check(loss):
        raise KeyError


class Net(nn.Module):
    def __init__(self, operator):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.operator = operator

    def forward(self, batch):
        return (self.operator.apply(self.weight) ** 2 * batch).sum()


def walk(operator, **options):
    model = Net(operator)
    return meta_gradient(
        ModuleObjective(model, lambda model, batch: model(batch)),
        dict(model.named_parameters()),
        iter([[torch.ones(3)], [torch.ones(3)]]),
        steps=1,
        lr=0.01,
        **options,
    ).gradient['weight']


def test_the_walk_back_refuses_them():
    with pytest.raises(SecondOrderError, match='OnceBackward.*first_order'):
        walk(Once)
    # w⁴: gradient 4 w³, Hessian 12 w².
    moved = 1 - 0.01 * 4
    want = (1 - 0.01 * 12) * 4 * moved**3
    assert walk(Twice).tolist() == pytest.approx([want] * 3)


def test_first_order_needs_no_second_derivative():
    want = 4 * (1 - 0.01 * 4) ** 3
    got = walk(Once, first_order=True)
    assert got.tolist() == pytest.approx([want] * 3)


WITHOUT = {
    'cdist': lambda x: torch.cdist(x, x.detach() + 0.3, p=1),
    'pdist': lambda x: nn.functional.pdist(x),
    'embedding_bag': lambda x: nn.functional.embedding_bag(
        torch.tensor([[0, 1], [1, 2]]), x
    ),
    'MultiMarginLoss': lambda x: nn.functional.multi_margin_loss(
        x, torch.tensor([0, 1, 2])
    ),
    'CtcLoss': lambda x: nn.functional.ctc_loss(
        x[:, None].log_softmax(2),
        torch.tensor([[1]]),
        torch.tensor([3]),
        torch.tensor([1]),
    ),
}


def unrolled(loss, weight, lr):
    """By autograd, through one step; None where torch cannot."""
    inner = weight.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(inner), inner, create_graph=True)
    try:
        (outer,) = torch.autograd.grad(loss(inner - lr * gradient), inner)
    except (NotImplementedError, RuntimeError):
        return None
    return outer


@pytest.mark.parametrize('name', WITHOUT)
@pytest.mark.parametrize('kept_graphs', [0, 1])
def test_operators_of_torch_without_a_second_derivative_are_named(
    name, kept_graphs
):
    """Later versions have more: torch 2.14 has those of cdist and pdist."""

    def loss(weight):
        return WITHOUT[name](weight).pow(2).sum()

    def walked():
        return meta_gradient(
            ModuleObjective(model, lambda model, batch: loss(model.weight)),
            dict(model.named_parameters()),
            iter([[0], [0]]),
            steps=1,
            lr=0.01,
            kept_graphs=kept_graphs,
        ).gradient['weight']

    model = nn.Module()
    model.weight = nn.Parameter(torch.rand(3, 3, dtype=torch.float64))
    expected = unrolled(loss, model.weight, lr=0.01)
    if expected is not None:
        assert torch.allclose(walked(), expected, atol=1e-12)
        return
    with pytest.raises(SecondOrderError, match=f'{name}.*first_order=True'):
        walked()
