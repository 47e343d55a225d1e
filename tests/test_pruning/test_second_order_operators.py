"""The lean operators are torch's own, and so are their derivatives."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from epsd_mm.pruning import ModuleObjective
from epsd_mm.pruning.gradients import hessian_product, record_gradient
from epsd_mm.pruning.second_order import LeanOperators


def randn(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


GEOMETRIES = [
    dict(),
    dict(stride=2, padding=1),
    dict(padding=(2, 1), dilation=(2, 1)),
    dict(groups=2, padding=1),
    dict(stride=(1, 3), groups=4),
]


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
def test_convolution_is_differentiated_twice(geometry, bias):
    groups = geometry.get('groups', 1)
    inputs = [randn(2, 4, 6, 7), randn(4, 4 // groups, 3, 3)]
    inputs += [randn(4)] if bias else []

    def convolve(*tensors):
        with LeanOperators():
            return F.conv2d(*tensors, **geometry)

    assert torch.equal(convolve(*inputs), F.conv2d(*inputs, **geometry))
    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('affine', [True, False], ids=['affine', 'plain'])
@pytest.mark.parametrize('shape', [(4, 3), (2, 3, 5), (2, 3, 4, 5)], ids=str)
def test_batch_norm_is_differentiated_twice(shape, affine, training):
    inputs = [randn(*shape)] + ([randn(3), randn(3)] if affine else [])

    def normalise(x, *affine, lean=True):
        mean, var = torch.full((2, 3), 0.7, dtype=torch.float64)
        mean, var = mean.clone(), var.clone()
        operators = LeanOperators()
        if lean:
            operators.__enter__()
        y = F.batch_norm(x, mean, var, *affine, training=training)
        if lean:
            operators.__exit__(None, None, None)
        return y, mean, var

    for own, stock in zip(normalise(*inputs), normalise(*inputs, lean=False)):
        assert torch.equal(own, stock)
    output = lambda *tensors: normalise(*tensors)[0]  # noqa: E731
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, groups=2, bias=False),
        nn.BatchNorm2d(8, affine=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(5),
    ).double()


def product_of(model, x, vectors, operators=None):
    params = list(model.parameters())
    if operators is None:
        loss = F.cross_entropy(model(x), torch.arange(len(x)))
        first = torch.autograd.grad(loss, params, create_graph=True)
    else:
        with operators:
            loss = F.cross_entropy(model(x), torch.arange(len(x)))
        with operators.without_weight_gradients():
            first = torch.autograd.grad(loss, params, create_graph=True)
    return torch.autograd.grad(first, params, vectors)


def test_a_hessian_product_is_that_of_torch():
    model, x = network(), randn(4, 3, 9, 9, grad=False)
    model(x)
    vectors = [torch.randn_like(p) for p in model.parameters()]
    stock = product_of(model, x, vectors)
    own = product_of(model, x, vectors, LeanOperators())
    for a, b in zip(stock, own):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_the_operators_are_really_in_use():
    model, x = network(), randn(4, 3, 9, 9, grad=False)
    with LeanOperators():
        loss = model(x).sum()
    names, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        names.add(node.name())
        stack += [n for n, _ in node.next_functions if n is not None]
    assert {'ConvolutionBackward', 'BatchNormBackward'} <= names
    assert not names & {'ConvolutionBackward0', 'NativeBatchNormBackward0'}


def test_gradients_have_their_values_outside_the_context():
    model, x = network(), randn(4, 3, 9, 9, grad=False)
    stock = torch.autograd.grad(model(x).pow(2).sum(), model.parameters())
    operators = LeanOperators()
    with operators:
        loss = model(x).pow(2).sum()
    first = torch.autograd.grad(loss, model.parameters(), create_graph=True)
    with operators.without_weight_gradients():
        second = torch.autograd.grad(loss, model.parameters())
    for a, b in zip(stock, first):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    assert not second[0].any(), 'a value was computed for nothing'


def test_a_loss_may_hold_a_gradient_of_its_own():
    """A penalty on the gradient of a weight needs its value."""
    weight, x = randn(2, 3, 3, 3), randn(2, 3, 6, 6, grad=False)

    def product(operators):
        with operators:
            output = F.conv2d(x, weight).tanh()
            (inner,) = torch.autograd.grad(
                output.sum(), weight, create_graph=True
            )
            loss = output.sum() + inner.pow(2).sum()
        skipping = getattr(operators, 'without_weight_gradients', None)
        with skipping() if skipping else operators:
            (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        (second,) = torch.autograd.grad(first, weight, torch.ones_like(weight))
        return second

    from contextlib import nullcontext

    stock, own = product(nullcontext()), product(LeanOperators())
    assert torch.allclose(stock, own, rtol=1e-10, atol=1e-12)


def test_a_weight_that_is_computed_keeps_its_gradient():
    """Standardised weights: the second derivative needs that value."""
    weight, x = randn(2, 3, 3, 3), randn(2, 3, 6, 6, grad=False)

    def product(operators=None):
        operators = operators or LeanOperators()
        with operators:
            standard = weight / weight.pow(2).mean().sqrt()
            loss = F.conv2d(x, standard).tanh().sum()
        with operators.without_weight_gradients():
            (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        return torch.autograd.grad(first, weight, torch.ones_like(weight))[0]

    standard = weight / weight.pow(2).mean().sqrt()
    loss = F.conv2d(x, standard).tanh().sum()
    (first,) = torch.autograd.grad(loss, weight, create_graph=True)
    (stock,) = torch.autograd.grad(first, weight, torch.ones_like(weight))
    assert torch.allclose(product(), stock, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    'call',
    [
        lambda x, w: F.conv2d(x, w, padding='same'),
        lambda x, w: F.conv2d(x[0], w),
        lambda x, w: F.conv2d(x.bfloat16(), w.bfloat16()),
        lambda x, w: F.batch_norm(
            x.bfloat16(), None, None, training=True
        ).float(),
    ],
    ids=['same', 'one image', 'bfloat16', 'norm of bfloat16'],
)
def test_what_is_not_covered_is_left_to_torch(call):
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    with LeanOperators():
        own = call(x, weight)
    assert torch.equal(own, call(x, weight))


def test_autocast_is_left_to_torch():
    x = torch.randn(2, 3, 6, 6)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    with LeanOperators(), torch.autocast('cpu', dtype=torch.bfloat16):
        output = F.conv2d(x, weight)
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize('depth', [1, 2], ids=['one pair', 'two pairs'])
def test_activation_checkpointing_is_left_to_torch(depth):
    """A checkpointed block runs again when no context is active."""
    pairs = [[nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)] for _ in range(depth)]
    block = nn.Sequential(*[layer for pair in pairs for layer in pair])
    head = nn.Linear(3, 4)
    model = nn.ModuleList([block, head]).double()
    x, labels = randn(5, 3, 9, 9, grad=False), torch.arange(5) % 4

    def loss(model, batch, checkpointed):
        block, head = model
        features = (
            checkpoint(block, batch, use_reentrant=False)
            if checkpointed
            else block(batch)
        )
        return F.cross_entropy(head(features.mean(dim=(2, 3))), labels)

    params = dict(model.named_parameters())
    products = []
    for checkpointed in (False, True):
        objective = ModuleObjective(
            model, partial(loss, checkpointed=checkpointed)
        )
        _, gradient, steps = record_gradient(objective, params, [x])
        products.append(hessian_product(objective, params, steps, gradient))
    plain, checkpointed = products
    for name, tensor in plain.items():
        assert torch.allclose(
            checkpointed[name], tensor, rtol=1e-9, atol=1e-12
        )
