"""Each criterion against its formula."""

from unittest import mock

import pytest
import torch
from torch import nn

from epsd_mm.pruning import (
    FORCE,
    SNIP,
    GraSP,
    IterSNIP,
    Magnitude,
    Masks,
    ModuleObjective,
    ProsPr,
    Random,
    SynFlow,
    meta_gradient,
    prunable_parameters,
)
from epsd_mm.pruning.criteria import prospr
from tests.helpers.nets import Tied, cross_entropy
from tests.helpers.oracles import (
    call,
    gradient_at,
    hessian_of,
    in_rounds,
    normalised_sum,
    relative_error,
    synaptic_flow,
    unrolled_gradient,
)
from tests.helpers.selections import find_masks


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)
        )


def loss(model, batch):
    return model(batch).square().mean()


ROUNDS = [IterSNIP(2), FORCE(2), SynFlow(2)]


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
    for criterion in (*ROUNDS, SNIP(), GraSP(), ProsPr(1), Magnitude()):
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
    [
        *ROUNDS,
        SNIP(),
        GraSP(),
        Magnitude(),
        Random(),
        ProsPr(steps=0),
        ProsPr(steps=2),
        ProsPr(first_order=True),
    ],
    ids=lambda criterion: type(criterion).__name__,
)
def test_criteria_announce_what_they_take(criterion, net, data):
    taken, evaluated = [], []

    class Counting(ModuleObjective):
        def _evaluate(self, params, batch):
            evaluated.append(batch)
            return super()._evaluate(params, batch)

        def outputs(self, params, batch):
            evaluated.append(batch)
            return super().outputs(params, batch)

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
        (dict(momentum='0.9'), "momentum='0.9' must be"),
        (dict(steps=0, momentum=0.9), 'momentum has no effect'),
        (dict(steps=0, first_order=True), 'first_order has no effect'),
        (dict(lr='0.1'), "lr='0.1' must be a positive number"),
        (dict(kept_graphs=4), 'kept_graphs=4 .* steps=3'),
        (dict(kept_graphs=1, first_order=True), 'kept_graphs=1 has no effect'),
        (dict(kept_graphs=3, offload=True), 'offload=True has no effect'),
        (dict(steps=0, offload=True), 'offload=True has no effect'),
    ],
)
def test_settings_that_make_no_sense(options, said):
    with pytest.raises(ValueError, match=said):
        ProsPr(**options)


class ConvNet(nn.Module):
    """With what a network has: normalisation, biases, a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).tanh()
        x = x + self.body(x).sigmoid()
        return self.head(x.mean(dim=(2, 3)))


def pictures(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, 5, 5, generator=generator).double()
    return x, torch.randint(0, 3, (count,), generator=generator)


def conv_net(seed=0):
    """In double precision, with normalisation that is not as it starts."""
    torch.manual_seed(seed)
    model = ConvNet().double()
    for tensor in (
        model.norm.weight.data,
        model.norm.bias.data,
        model.norm.running_mean,
        model.norm.running_var,
    ):
        tensor.normal_()
    model.norm.running_var.abs_()
    return model


def conv_scores(criterion, model, batches, masks=None):
    return criterion.scores(
        ModuleObjective(model, cross_entropy),
        dict(model.named_parameters()),
        masks or Masks.ones_like(prunable_parameters(model)),
        iter(batches),
    )


def written_out(model, batches, masks):
    """The mean loss over batches and θ ⊙ m, with which it is evaluated."""

    def evaluate(theta):
        losses = []
        for x, labels in batches:
            logits = call(model, theta, x)
            chosen = logits.softmax(dim=1)[range(len(x)), labels]
            losses.append(-chosen.log().mean())
        return sum(losses) / len(losses)

    theta = {
        n: p.detach() * masks[n] if n in masks else p.detach()
        for n, p in model.named_parameters()
    }
    return evaluate, theta


def some_removed(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Masks(
        {
            n: torch.rand(p.shape, generator=generator) > 0.3
            for n, p in prunable_parameters(model).items()
        }
    )


@pytest.mark.parametrize('batches', [1, 3])
@pytest.mark.parametrize('criterion', [SNIP(), IterSNIP(), FORCE(), GraSP()])
def test_one_round_at_a_masked_network(criterion, batches):
    """FORCE multiplies by the weight that it would let come back."""
    model = conv_net()
    masks = some_removed(model)
    data = [pictures(k) for k in range(batches)]
    evaluate, theta = written_out(model, data, masks)
    gradient = gradient_at(evaluate, theta)
    if isinstance(criterion, GraSP):
        names = list(masks)
        g = torch.cat([gradient[n].ravel() for n in names])
        product = hessian_of(evaluate, theta, names) @ g
        parts = product.split([masks[n].numel() for n in names])
        want = {
            n: theta[n] * part.view_as(theta[n])
            for n, part in zip(names, parts)
        }
        assert any((w < 0).any() for w in want.values())
    else:
        initial = dict(model.named_parameters())
        weights = initial if isinstance(criterion, FORCE) else theta
        want = {n: (weights[n] * gradient[n]).abs() for n in masks}
    got = conv_scores(criterion, model, [data], masks)
    assert list(got) == list(masks)
    assert relative_error(got, want) < 1e-9
    revived = any((got[n][~masks[n]] != 0).any() for n in masks)
    assert revived == isinstance(criterion, FORCE)


def test_gradient_of_grasp_is_that_of_the_prunable_weights_alone():
    """Biases, normalisation and excluded weights stay out of g."""
    model = conv_net()
    prunable = prunable_parameters(model, exclude=['head.*'])
    data = [pictures(0)]
    evaluate, theta = written_out(model, data, {})
    gradient = gradient_at(evaluate, theta)

    def products(names):
        g = torch.cat([gradient[n].ravel() for n in names])
        product = hessian_of(evaluate, theta, names) @ g
        parts = product.split([theta[n].numel() for n in names])
        return {
            n: theta[n] * part.view_as(theta[n])
            for n, part in zip(names, parts)
            if n in prunable
        }

    masks = Masks.ones_like(prunable)
    got = conv_scores(GraSP(), model, [data], masks)
    assert relative_error(got, products(list(prunable))) < 1e-9
    assert relative_error(got, products(list(theta))) > 1e-3


def test_prospr_trains_all_weights_and_averages_batches():
    model = conv_net()
    masks = some_removed(model)
    data = [[pictures(2 * k), pictures(2 * k + 1)] for k in range(4)]
    steps = [written_out(model, group, masks) for group in data]
    theta = steps[0][1]
    gradient = unrolled_gradient([f for f, _ in steps], theta, 0.3, 0.9)
    want = {n: (theta[n] * gradient[n]).abs() for n in masks}
    criterion = ProsPr(steps=3, lr=0.3, momentum=0.9)
    got = conv_scores(criterion, model, data, masks)
    assert relative_error(got, want) < 1e-9


def test_synflow_of_positive_weights_buffers_and_shifts():
    """Running means and the shifts of normalisation are signed too."""
    model = conv_net()
    model.body.bias.requires_grad_(False)
    assert model.norm.running_mean.min() < 0 < model.norm.bias.max()
    for masks in (
        Masks.ones_like(prunable_parameters(model)),
        some_removed(model),
    ):
        want = synaptic_flow(model, masks, (1, 2, 5, 5))
        params = {n: p for n, p in model.named_parameters() if p.requires_grad}
        got = SynFlow().scores(
            ModuleObjective(model, None), params, masks, iter([[pictures(0)]])
        )
        assert relative_error(got, want) < 1e-9


def test_synflow_of_a_net_that_is_not_positive(net):
    """Normalisation turns some flows round: their size counts."""
    want = synaptic_flow(net, ones(net), (1, 3))
    got = scores(SynFlow(), net, [torch.zeros(1, 3)])
    assert relative_error(got, want) < 1e-9


@pytest.mark.parametrize(
    'inputs',
    [
        torch.randn(7, 2, 5, 5),
        torch.zeros(1, 2, 5, 5, dtype=torch.uint8),
        torch.full((2, 2, 5, 5), float('nan')).half(),
        torch.empty(3, 2, 5, 5, device='meta'),
    ],
    ids=['float32', 'uint8', 'nan', 'other device'],
)
def test_synflow_takes_nothing_but_the_shape_of_the_images(inputs):
    model = conv_net().float()
    masks = Masks.ones_like(prunable_parameters(model))
    want = synaptic_flow(model, masks, (1, 2, 5, 5))
    got = conv_scores(SynFlow(), model, [[inputs]], masks)
    assert all(tensor.dtype == torch.float64 for tensor in got.values())
    assert relative_error(got, want) < 1e-9


def test_synflow_of_a_deep_net_does_not_overflow():
    """In float32 R would be infinite."""
    layers = [nn.Linear(64, 64, bias=False) for _ in range(40)]
    for layer in layers:
        nn.init.normal_(layer.weight)
    model = nn.Sequential(*layers)
    with torch.no_grad():
        x = torch.ones(1, 64)
        for layer in layers:
            x = x @ layer.weight.abs().T
    assert x.sum() == float('inf')
    got = conv_scores(SynFlow(), model, [[torch.ones(1, 64)]])
    masks = Masks.ones_like(prunable_parameters(model))
    assert relative_error(got, synaptic_flow(model, masks, (1, 64))) < 1e-9


@pytest.mark.parametrize('draws', [1, 2])
@pytest.mark.parametrize('kind', ['exponential', 'linear'])
@pytest.mark.parametrize('build', [IterSNIP, FORCE])
def test_rounds_over_data(build, kind, draws):
    """Each round on draws of its own, at what the last one left."""
    model, rounds, sparsity = conv_net(), 4, 0.8
    shapes = {n: p.shape for n, p in prunable_parameters(model).items()}

    def one_draw(masks, draw):
        evaluate, theta = written_out(model, [pictures(draw)], masks)
        gradient = gradient_at(evaluate, theta)
        initial = dict(model.named_parameters())
        weights = initial if build is FORCE else theta
        return {n: (weights[n] * gradient[n]).detach().abs() for n in masks}

    def scores_of(masks, round_number):
        first = round_number * draws
        return normalised_sum(
            one_draw(masks, draw) for draw in range(first, first + draws)
        )

    trail = in_rounds(
        scores_of, shapes, sparsity, rounds, kind, regrow=build is FORCE
    )
    found = find_masks(
        ModuleObjective(model, cross_entropy),
        build(rounds, kind),
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model)),
        lambda draw: [pictures(draw)],
        sparsity=sparsity,
        draws=draws,
        allow_empty_layers=True,
    )
    assert found.masks == Masks(trail[-1])
    came_back = any(
        (after[n] & ~before[n]).any()
        for before, after in zip(trail, trail[1:])
        for n in after
    )
    assert came_back == (build is FORCE)


@pytest.mark.parametrize('kind', ['exponential', 'linear'])
@pytest.mark.parametrize('sparsity', [0.5, 0.8])
def test_rounds_of_synflow(sparsity, kind):
    model, rounds = conv_net(), 6
    shapes = {n: p.shape for n, p in prunable_parameters(model).items()}
    trail = in_rounds(
        lambda masks, k: synaptic_flow(model, masks, (1, 2, 5, 5)),
        shapes,
        sparsity,
        rounds,
        kind,
    )
    found = find_masks(
        ModuleObjective(model, None),
        SynFlow(rounds, kind),
        dict(model.named_parameters()),
        Masks.ones_like(prunable_parameters(model)),
        lambda draw: [pictures(draw)],
        sparsity=sparsity,
    )
    assert found.masks == Masks(trail[-1])


def test_synflow_empties_no_layer_where_magnitude_does():
    """Layer collapse, and what rounds are for."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 4, bias=False),
    )
    masks = Masks.ones_like(prunable_parameters(model))

    def emptied(criterion):
        found = find_masks(
            ModuleObjective(model, None),
            criterion,
            dict(model.named_parameters()),
            masks,
            lambda draw: [torch.ones(1, 4)],
            sparsity=0.995,
            allow_empty_layers=True,
        )
        return found.masks.empty_layers()

    assert emptied(SynFlow(50)) == []
    assert emptied(Magnitude()) == ['2.weight', '4.weight']


@pytest.mark.parametrize(
    'criterion', [SNIP(), ProsPr(2, 0.2), GraSP(), SynFlow(2)]
)
def test_tied_weights_are_scored_once_with_all_they_do(criterion):
    """The total derivative: two weights with one value each, added up."""
    tied = Tied().double()
    data = [
        [(torch.randn(6, 4).double(), torch.randint(0, 3, (6,)))]
        for _ in range(3)
    ]
    got = conv_scores(criterion, tied, data)
    assert list(got) == ['one.weight', 'out.weight']
    if isinstance(criterion, SynFlow):
        masks = Masks.ones_like(prunable_parameters(tied))
        want = synaptic_flow(tied, masks, (1, 4))
        assert relative_error(got, want) < 1e-9
        return

    def apart(batch):
        (x, labels), *_ = batch

        def evaluate(theta):
            hidden = x
            for bias in ('one.bias', 'two.bias'):
                hidden = hidden @ theta['one.weight'].T + theta[bias]
                hidden = hidden.tanh()
            logits = hidden @ theta['out.weight'].T + theta['out.bias']
            chosen = logits.softmax(dim=1)[range(len(x)), labels]
            return -chosen.log().mean()

        return evaluate

    theta = {n: p.detach() for n, p in tied.named_parameters()}
    losses = [apart(batch) for batch in data]
    if isinstance(criterion, GraSP):
        names = list(got)
        gradient = gradient_at(losses[0], theta)
        g = torch.cat([gradient[n].ravel() for n in names])
        product = hessian_of(losses[0], theta, names) @ g
        parts = product.split([theta[n].numel() for n in names])
        want = {
            n: theta[n] * p.view_as(theta[n]) for n, p in zip(names, parts)
        }
    else:
        losses = losses[: criterion.steps_per_draw]
        gradient = unrolled_gradient(losses, theta, 0.2)
        want = {n: (theta[n] * gradient[n]).abs() for n in got}
    assert relative_error(got, want) < 1e-9
