"""What the check of each node cannot see is found by differences."""

import pytest
import torch
from torch import nn
from torch.autograd import Function

from epsd_mm.pruning import (
    ModuleObjective,
    check_hessian_product,
    meta_gradient,
)
from epsd_mm.pruning.second_order import SecondOrderError
from tests.helpers.nets import cross_entropy


class Cube(Function):
    """``x³``, whose backward keeps what it was given."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class DetachedInput(Cube):
    """The same, detaching what it has saved."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x.detach() ** 2 * grad


class SavedSlope(Function):
    """The same, with a slope that nobody knows to depend on the input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(3 * x**2)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (slope,) = ctx.saved_tensors
        return slope * grad


class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 3)
        self.activation = activation

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.third(self.activation(self.second(x)))


def objective(activation, dtype=torch.float64):
    torch.manual_seed(0)
    model = Net(activation).to(dtype)
    model.first.weight.data.mul_(4)
    batches = [
        (torch.randn(16, 4, dtype=dtype), torch.randint(0, 3, (16,)))
        for _ in range(2)
    ]
    params = dict(model.named_parameters())
    return ModuleObjective(model, cross_entropy), params, batches


@pytest.mark.parametrize('activation', [Cube.apply, torch.sin, torch.relu])
def test_exact_operators_agree_with_differences(activation):
    error = check_hessian_product(*objective(activation))
    assert 0 < error < 1e-5


@pytest.mark.parametrize('operator', [DetachedInput, SavedSlope])
def test_a_backward_that_takes_its_input_for_a_constant_is_found(operator):
    with pytest.raises(SecondOrderError, match='off by') as error:
        check_hessian_product(*objective(operator.apply))
    # What lies between it and the loss is right.
    assert "'first.weight'" in str(error.value)
    assert "'second.weight'" in str(error.value)
    assert "'third" not in str(error.value)


@pytest.mark.parametrize('operator', [DetachedInput, SavedSlope])
def test_the_walk_back_does_not_notice_these(operator):
    """The reason for this function; it may go when this fails."""
    walks = []
    for activation in (Cube.apply, operator.apply):
        of, params, batches = objective(activation)
        steps = iter([[batch] for batch in batches])
        walks.append(meta_gradient(of, params, steps, steps=1, lr=0.5))
    exact, wrong = (w.gradient['second.weight'] for w in walks)
    assert (wrong - exact).norm() > 0.1 * exact.norm()


def test_it_holds_for_the_tolerance_that_is_asked_for():
    arguments = objective(Cube.apply)
    error = check_hessian_product(*arguments)
    with pytest.raises(SecondOrderError):
        check_hessian_product(*arguments, tolerance=error / 1e6)


def test_weights_stay_as_they_are():
    of, params, batches = objective(Cube.apply)
    before = {n: p.detach().clone() for n, p in params.items()}
    check_hessian_product(of, params, batches)
    assert all(torch.equal(params[n], before[n]) for n in params)
    assert all(p.grad is None for p in params.values())


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match="'first.weight' is in torch.float32"):
        check_hessian_product(*objective(torch.sin, torch.float32))
