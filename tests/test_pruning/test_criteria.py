"""Each criterion against its formula."""

from unittest import mock

import pytest
import torch
from torch import nn

from epsd_mm.pruning import (
    SNIP,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Random,
    meta_gradient,
    prunable_parameters,
)
from epsd_mm.pruning.criteria import prospr
from tests.helpers.oracles import relative_error, unrolled_gradient


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)
        )


def loss(model, batch):
    return model(batch).square().mean()


@pytest.fixture
def net():
    return Net().double()


@pytest.fixture
def data():
    return [torch.randn(5, 3, dtype=torch.float64) for _ in range(4)]


def scores(criterion, net, data=()):
    return criterion.scores(
        ModuleObjective(net, loss),
        dict(net.named_parameters()),
        Masks.ones_like(prunable_parameters(net)),
        iter([batch] for batch in data),
    )


def masked_loss(net, batch):
    """The loss as a function of the masks of two layers."""

    def evaluate(masks):
        weights = {
            n: p.detach() * masks[n] if n in masks else p.detach()
            for n, p in net.named_parameters()
        }
        return torch.func.functional_call(net, weights, (batch,))

    return lambda masks: evaluate(masks).square().mean()


def ones(net):
    return {n: torch.ones_like(p) for n, p in prunable_parameters(net).items()}


def test_snip_is_the_derivative_by_the_mask(net, data):
    want = torch.func.grad(masked_loss(net, data[0]))(ones(net))
    got = scores(SNIP(), net, data)
    assert relative_error(got, {n: w.abs() for n, w in want.items()}) < 1e-12


def test_snip_by_finite_differences(net, data):
    got = scores(SNIP(), net, data)
    evaluate, h = masked_loss(net, data[0]), 1e-5
    for name in got:
        for index in range(got[name].numel()):
            values = []
            for sign in (1, -1):
                masks = ones(net)
                masks[name].view(-1)[index] += sign * h
                values.append(float(evaluate(masks)))
            slope = abs(values[0] - values[1]) / (2 * h)
            score = float(got[name].view(-1)[index])
            assert score == pytest.approx(slope, abs=1e-8)


def test_prospr_is_the_derivative_by_the_mask_through_training(net, data):
    """The masks are differentiated through θ_0 = θ_init ⊙ m."""
    initial = {n: p.detach() for n, p in net.named_parameters()}

    def from_masks(masks):
        theta = {n: p * masks.get(n, 1) for n, p in initial.items()}
        for batch in data[:-1]:
            gradient = torch.func.grad(evaluate)(theta, batch)
            theta = {n: theta[n] - 0.3 * gradient[n] for n in theta}
        return evaluate(theta, data[-1])

    def evaluate(theta, batch):
        out = torch.func.functional_call(net, theta, (batch,))
        return out.square().mean()

    want = torch.func.grad(from_masks)(ones(net))
    got = scores(ProsPr(steps=3, lr=0.3), net, data)
    assert relative_error(got, {n: w.abs() for n, w in want.items()}) < 1e-9


def test_prospr_passes_its_settings_on(net, data):
    losses = [masked_weights(net, batch) for batch in data]
    params = dict(net.named_parameters())
    gradient = unrolled_gradient(losses, params, 0.2, 0.5)
    want = {n: (params[n] * gradient[n]).abs() for n in ones(net)}
    settings = dict(steps=3, lr=0.2, momentum=0.5)
    got = scores(ProsPr(**settings), net, data)
    assert relative_error(got, want) < 1e-9
    first = scores(ProsPr(**settings, first_order=True), net, data)
    assert relative_error(first, want) > 1e-3


def test_prospr_asks_for_the_weights_to_be_kept_on_the_cpu(net, data):
    """Which a machine with nothing but a CPU cannot see otherwise."""
    with mock.patch.object(
        prospr, 'meta_gradient', wraps=meta_gradient
    ) as walk:
        scores(ProsPr(steps=1, offload=True), net, data)
    assert walk.call_args.kwargs['offload'] is True


def masked_weights(net, batch):
    def evaluate(theta):
        out = torch.func.functional_call(net, theta, (batch,))
        return out.square().mean()

    return evaluate


def test_prospr_without_steps_is_snip(net, data):
    got = scores(ProsPr(steps=0), net, data)
    want = scores(SNIP(), net, data)
    assert all(torch.equal(got[n], want[n]) for n in want)


def test_only_prunable_weights_are_scored(net, data):
    for criterion in (SNIP(), ProsPr(steps=1), Magnitude(), Random()):
        assert list(scores(criterion, net, data)) == ['0.weight', '3.weight']


def test_magnitude(net):
    got = scores(Magnitude(), net)
    assert torch.equal(got['0.weight'], net[0].weight.abs())


def test_random_follows_the_seed_alone(net):
    another = Net().double()
    torch.manual_seed(3)
    first = scores(Random(), net)
    torch.manual_seed(3)
    again = scores(Random(), another)
    other = scores(Random(), net)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert first[name].min() >= 0 and first[name].unique().numel() > 1


@pytest.mark.parametrize(
    'criterion',
    [SNIP(), ProsPr(steps=0), ProsPr(steps=2), ProsPr(first_order=True)],
)
def test_criteria_announce_what_they_take(criterion, net, data):
    taken, evaluated = [], []

    class Counting(ModuleObjective):
        def _evaluate(self, params, batch):
            evaluated.append(batch)
            return super()._evaluate(params, batch)

    def batches():
        for batch in data:
            taken.append(batch)
            yield [batch]

    criterion.scores(
        Counting(net, loss),
        dict(net.named_parameters()),
        Masks.ones_like(prunable_parameters(net)),
        batches(),
    )
    assert len(taken) == criterion.steps_per_draw
    assert len(evaluated) == criterion.evaluations


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(steps=-1), 'steps=-1'),
        (dict(steps=1.5), 'steps=1.5'),
        (dict(lr=0), 'lr=0'),
        (dict(lr=float('nan')), 'lr=nan'),
        (dict(momentum=1), r'momentum=1 .*\[0, 1\)'),
        (dict(momentum=-0.1), 'momentum=-0.1'),
        (dict(steps=0, momentum=0.9), 'momentum has no effect'),
        (dict(steps=0, first_order=True), 'first_order has no effect'),
    ],
)
def test_settings_that_make_no_sense(options, said):
    with pytest.raises(ValueError, match=said):
        ProsPr(**options)
