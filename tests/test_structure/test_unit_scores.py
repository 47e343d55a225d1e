"""Scores of units, against gates that multiply what units emit."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from epsd_mm.pruning import (
    FORCE,
    SNIP,
    Criterion,
    GraSP,
    IterSNIP,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Random,
    SynFlow,
)
from epsd_mm.structure import Channels, UnitScores
from epsd_mm.structure.scores import by_unit, gate_masks
from tests.helpers.units import (
    GATED,
    Branches,
    branches_groups,
    gated_outputs,
)

LR = 0.05


@pytest.fixture
def model():
    torch.manual_seed(3)
    return Branches().double()


@pytest.fixture
def groups():
    return branches_groups()


def batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(8, 2, 6, 6, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def objective_of(model):
    return ModuleObjective(model, lambda m, b: cross_entropy(m(b[0]), b[1]))


def unit_scores(model, groups, criterion, data, channels=None, **options):
    channels = channels or Channels.all_of(groups)
    return UnitScores(criterion, groups, **options).scores(
        objective_of(model),
        dict(model.named_parameters()),
        channels,
        iter([batch] for batch in data),
    )


def open_gates(groups, channels=None):
    return {
        name: torch.ones(group.units, dtype=torch.float64)
        .mul(1 if channels is None else channels[name])
        .requires_grad_()
        for name, group in groups.items()
    }


def start_of(model):
    return {n: p.detach() for n, p in model.named_parameters()}


def close(got, want, tolerance=1e-9):
    assert got.keys() == want.keys()
    for name in want:
        scale = want[name].abs().max()
        assert scale > 0
        assert (got[name] - want[name]).abs().max() < tolerance * scale


def derivative_after_steps(model, groups, data):
    """By gates in the network, through the unrolled graph of all steps.

    A gate g that stays in the network in place of a factor g on its first
    weights makes steps of another length: those of length η / g² on the
    weights behind it are the same steps.
    """
    gates, theta = open_gates(groups), start_of(model)
    owner = {name: group for group, ns in GATED.items() for name in ns}
    theta = {name: p.clone().requires_grad_() for name, p in theta.items()}
    for images, labels in data[:-1]:
        loss = cross_entropy(gated_outputs(theta, gates, images), labels)
        gradient = torch.autograd.grad(
            loss, list(theta.values()), create_graph=True
        )
        for (name, p), g in zip(list(theta.items()), gradient):
            lr = torch.tensor(LR, dtype=torch.float64)
            if name in owner:
                lr = LR / gates[owner[name]].square()
                lr = lr.view(-1, *[1] * (p.dim() - 1))
            theta[name] = p - lr * g
    images, labels = data[-1]
    loss = cross_entropy(gated_outputs(theta, gates, images), labels)
    return dict(zip(gates, torch.autograd.grad(loss, list(gates.values()))))


@pytest.mark.parametrize('steps', [0, 1, 3])
def test_the_score_is_the_derivative_by_a_gate_after_i_steps(
    model, groups, steps
):
    data = batches(steps + 1)
    want = derivative_after_steps(model, groups, data)
    got = unit_scores(model, groups, ProsPr(steps=steps, lr=LR), data)
    close(got, {name: d.abs() for name, d in want.items()})
    if steps:
        first_order = ProsPr(steps=steps, lr=LR, first_order=True)
        other = unit_scores(model, groups, first_order, data)
        assert not torch.allclose(other['one'], got['one'], rtol=1e-3)


def test_a_network_with_gates_is_the_network(model, groups):
    images = batches(1)[0][0]
    outputs = gated_outputs(start_of(model), open_gates(groups), images)
    assert torch.allclose(outputs, model(images), atol=1e-12)


@pytest.mark.parametrize('criterion', [SNIP(), IterSNIP(3)])
def test_snip_is_the_derivative_by_a_gate_that_is_open(
    model, groups, criterion
):
    data = batches(1)
    want = derivative_after_steps(model, groups, data)
    got = unit_scores(model, groups, criterion, data)
    close(got, {name: d.abs() for name, d in want.items()})


@pytest.fixture
def some(groups):
    """Channels of which some are gone."""
    one = torch.tensor([True, False, True, True, False, True])
    body = torch.tensor([False, True, True, False, True])
    return Channels(dict(one=one, body=body))


def test_force_scores_what_is_gone_by_gates_that_are_closed(
    model, groups, some
):
    """(Behind a ReLU that is zero, and a unit does not come back.)"""
    data = batches(1)
    gates = open_gates(groups, some)
    images, labels = data[0]
    outputs = gated_outputs(start_of(model), gates, images)
    loss = cross_entropy(outputs, labels)
    want = torch.autograd.grad(loss, list(gates.values()))
    got = unit_scores(model, groups, FORCE(3), data, some)
    close(got, {name: d.abs() for name, d in zip(gates, want)})
    assert not got['body'][~some['body']].any()


def test_what_is_gone_scores_nothing_without_regrowth(model, groups, some):
    got = unit_scores(model, groups, IterSNIP(3), batches(1), some)
    for name, row in got.items():
        assert torch.equal(row != 0, some[name])


def test_grasp_keeps_the_sign_of_what_a_gate_does_to_the_gradient(
    model, groups
):
    data = batches(1)
    gates, (images, labels) = open_gates(groups), data[0]
    theta = start_of(model)
    for name, gated in GATED.items():
        for each in gated:
            rows = gates[name].view(-1, *[1] * (theta[each].dim() - 1))
            theta[each] = theta[each] * rows
    theta = {
        name: p if p.requires_grad else p.requires_grad_()
        for name, p in theta.items()
    }
    whole = open_gates(groups)
    loss = cross_entropy(gated_outputs(theta, whole, images), labels)
    names = [name for name in theta if name != 'head.bias']  # in no unit
    gradient = torch.autograd.grad(
        loss, [theta[name] for name in names], create_graph=True
    )
    square = sum(g.square().sum() for g in gradient) / 2
    want = torch.autograd.grad(square, list(gates.values()))
    got = unit_scores(model, groups, GraSP(), data)
    close(got, dict(zip(gates, want)))
    assert any((row < 0).any() for row in got.values())


def test_synflow_is_the_flow_through_a_gate(model, groups):
    gates = open_gates(groups)
    theta = {name: p.abs() for name, p in start_of(model).items()}
    statistics = {n: b.abs() for n, b in model.named_buffers()}
    ones = torch.ones(1, 2, 6, 6, dtype=torch.float64)
    flow = gated_outputs(theta, gates, ones, statistics).sum()
    want = torch.autograd.grad(flow, list(gates.values()))
    got = unit_scores(model, groups, SynFlow(3), batches(1))
    close(got, {name: d.abs() for name, d in zip(gates, want)})


def test_weights_before_a_norm_say_nothing_and_what_follows_does(
    model, groups
):
    """Their size is no matter to the norm, so that their sum is zero."""
    params = dict(model.named_parameters())
    masks = Masks.ones_like(params)
    products = SNIP().products(
        objective_of(model), params, masks, iter([batches(1)])
    )
    for member in groups['one'].members:
        if member.name not in products or member.role == 'consumer':
            continue
        signed = by_unit(member, products[member.name])
        sizes = by_unit(member, products[member.name].abs())
        if member.normalised:
            # (but for the epsilon beside the variance)
            assert (signed.abs() < 1e-3 * sizes).all()
        else:
            assert (signed.abs() > 0.1 * sizes).all()


def test_means_are_of_the_weights_that_emit(model, groups):
    data = batches(1)
    got = unit_scores(model, groups, SNIP(), data, by='mean')
    params = dict(model.named_parameters())
    single = SNIP().scores(
        objective_of(model), params, Masks.ones_like(params), iter([data])
    )
    both = torch.cat(
        [single['one.weight'].flatten(1), single['two.weight'].flatten(1)], 1
    )
    body = single['body.weight'].flatten(1)
    close(got, dict(one=both.mean(1), body=body.mean(1)))


def test_magnitude_has_no_derivative_and_takes_means(model, groups):
    got = unit_scores(model, groups, Magnitude(), [])
    weights = [model.one.weight.flatten(1), model.two.weight.flatten(1)]
    want = torch.cat(weights, 1).abs().mean(1)
    close(dict(one=got['one']), dict(one=want.detach()))


def test_random_units_are_drawn_one_by_one(model, groups):
    torch.manual_seed(0)
    got = unit_scores(model, groups, Random(), [])
    torch.manual_seed(0)
    assert all(
        torch.equal(got[name], torch.rand(group.units))
        for name, group in groups.items()
    )


class Own(Criterion):
    """One that somebody wrote for weights."""

    def scores(self, objective, params, masks, batches):
        return {name: params[name].detach().square() for name in masks}


def test_a_criterion_of_ones_own_takes_means(model, groups):
    got = unit_scores(model, groups, Own(), [])
    want = model.body.weight.detach().flatten(1).square().mean(1)
    close(dict(body=got['body']), dict(body=want))


@pytest.mark.parametrize(
    'criterion, by, words',
    [
        (Magnitude(), 'gate', "Magnitude has none: say scores='mean'"),
        (Own(), 'gate', "Own has none: say scores='mean'"),
        (Random(), 'mean', "'mean' has no effect: Random looks at no weight"),
        (SNIP(), 'sum', "scores='sum' must be 'gate', 'mean' or 'members'"),
    ],
)
def test_what_a_criterion_cannot_do_is_told(groups, criterion, by, words):
    with pytest.raises(ValueError, match=words):
        UnitScores(criterion, groups, by)


def test_gates_take_no_more_than_what_is_emitted(model, groups, some):
    params = dict(model.named_parameters())
    masks = gate_masks(groups, some, params)
    closed = {name for name, mask in masks.items() if not mask.all()}
    assert closed == {name for names in GATED.values() for name in names}
    gates = {name: row.double() for name, row in some.items()}
    images = batches(1)[0][0]
    theta = {n: p * masks[n] if n in masks else p for n, p in params.items()}
    got = gated_outputs(theta, open_gates(groups), images)
    want = gated_outputs(params, gates, images)
    assert torch.allclose(got, want, atol=1e-12)
