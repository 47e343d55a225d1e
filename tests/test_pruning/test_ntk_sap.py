"""NTK-SAP against its formula, by differences of the mask."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsd_mm.pruning import (
    NTKSAP,
    Masks,
    ModuleObjective,
    prunable_parameters,
)
from tests.helpers.oracles import relative_error
from tests.helpers.selections import find_masks

SAMPLES, EPSILON = 3, 0.05


class Net(nn.Module):
    """Smooth, with two kinds of layers, biases, a norm and dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3, momentum=0.3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 2)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        x = self.drop(self.norm(self.stem(x)).tanh())
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(5)
    model = Net().double()
    model(torch.randn(8, 2, 5, 5).double())  # statistics of something
    return model


@pytest.fixture
def masks(net):
    """With a third of the weights gone."""
    generator = torch.Generator().manual_seed(1)
    return Masks(
        {
            name: torch.rand(p.shape, generator=generator) > 1 / 3
            for name, p in prunable_parameters(net).items()
        }
    )


def scores(net, masks, batch=None, **options):
    batch = torch.zeros(4, 2, 5, 5) if batch is None else batch
    torch.manual_seed(0)
    return NTKSAP(samples=SAMPLES, epsilon=EPSILON, **options).scores(
        ModuleObjective(net, None),
        dict(net.named_parameters()),
        masks,
        iter([[batch]]),
    )


def drawn(net, shape):
    """Weights, steps away from them and images, in the order of drawing."""
    torch.manual_seed(0)
    for _ in range(SAMPLES):
        weights, steps = {}, {}
        for name, p in prunable_parameters(net).items():
            fan_in = math.prod(p.shape[1:])
            weights[name] = torch.randn(p.shape) * math.sqrt(2 / fan_in)
            steps[name] = EPSILON * torch.randn(p.shape)
        images = torch.randn(shape)
        yield (
            {n: w.double() for n, w in weights.items()},
            {n: s.double() for n, s in steps.items()},
            images.double(),
        )


def distance(net, sample, mask, statistics):
    """``‖f(x; θ ⊙ m) − f(x; (θ + Δθ) ⊙ m)‖²``, layer by layer."""
    weights, steps, x = sample

    def f(moved):
        theta = {n: mask[n] * (weights[n] + moved * steps[n]) for n in weights}
        mean, var = statistics
        y = F.conv2d(x, theta['stem.weight'], net.stem.bias)
        y = (y - mean) / (var + net.norm.eps).sqrt()
        y = net.norm.weight.view(-1, 1, 1) * y + net.norm.bias.view(-1, 1, 1)
        y = y.tanh().mean(dim=(2, 3))
        return y @ theta['head.weight'].T + net.head.bias

    return float((f(0) - f(1)).square().sum().detach())


def statistics_of(net, sample, mask):
    """Of the images of a sample, the variance as a running one has it."""
    weights, _, x = sample
    y = F.conv2d(
        x, mask['stem.weight'] * weights['stem.weight'], net.stem.bias
    )
    y = y.transpose(0, 1).flatten(1)
    mean = y.mean(dim=1)
    var = (y - mean[:, None]).square().sum(dim=1) / (y.shape[1] - 1)
    return mean.view(-1, 1, 1).detach(), var.view(-1, 1, 1).detach()


def test_scores_are_differences_of_the_mask(net, masks):
    """Signed over samples; what is gone scores nothing."""
    want = {n: torch.zeros(m.shape).double() for n, m in masks.items()}
    h = 1e-5
    for sample in drawn(net, (4, 2, 5, 5)):
        start = {n: m.double() for n, m in masks.items()}
        statistics = statistics_of(net, sample, start)
        for name, mask in masks.items():
            for i in mask.ravel().nonzero().ravel().tolist():
                values = []
                for sign in (1, -1):
                    moved = {n: m.clone() for n, m in start.items()}
                    moved[name].view(-1)[i] += sign * h
                    values.append(distance(net, sample, moved, statistics))
                slope = (values[0] - values[1]) / (2 * h)
                want[name].view(-1)[i] += slope
    want = {n: slope.abs() for n, slope in want.items()}
    assert relative_error(scores(net, masks), want) < 1e-6


def test_neither_initial_weights_nor_images_count(net, masks):
    other = copy.deepcopy(net)
    for name in masks:
        nn.init.normal_(other.get_parameter(name))
    other.norm.running_mean.fill_(9)
    images = torch.full((4, 2, 5, 5), 7.0)
    want = scores(net, masks)
    got = scores(other, masks, images)
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_precision_and_mode_change_no_draw(net, masks):
    want = scores(net, masks)
    single = copy.deepcopy(net).float().eval()
    got = {n: s.double() for n, s in scores(single, masks).items()}
    assert relative_error(got, want) < 1e-3


def test_the_network_stays_as_it_is(net, masks):
    net.norm.eval()
    before = copy.deepcopy(net)
    scores(net, masks)
    state = net.state_dict()
    for name, tensor in before.state_dict().items():
        assert torch.equal(state[name], tensor), name
    modes = [module.training for module in net.modules()]
    assert modes == [module.training for module in before.modules()]
    assert net.norm.momentum == 0.3
    assert all(p.grad is None for p in net.parameters())


def test_every_sample_is_told(net, masks):
    told = []
    found = find_masks(
        ModuleObjective(net, None),
        criterion := NTKSAP(rounds=2, samples=3),
        dict(net.named_parameters()),
        Masks.ones_like(prunable_parameters(net)),
        lambda draw: [torch.zeros(4, 2, 5, 5)],
        sparsity=0.3,
        on_evaluation=lambda draw, value: told.append((draw, value)),
    )
    assert [draw for draw, _ in told] == [0] * 3 + [1] * 3
    assert criterion.evaluations == 3
    assert len({value for _, value in told}) == 6
    # Statistics of four images, and two networks with their way back.
    cost = dict(images=3 * 4 * 3, passes=3 * 4 * (1 + 3 + 3))
    assert [notes['outputs'] for notes in found.draws] == [cost, cost]


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(samples=0), 'samples=0 must be an integer >= 1'),
        (dict(samples=2.0), 'samples=2.0'),
        (dict(epsilon=0), 'epsilon=0 must be a positive'),
        (dict(epsilon='0.01'), "epsilon='0.01'"),
    ],
)
def test_settings_that_make_no_sense(options, said):
    with pytest.raises(ValueError, match=said):
        NTKSAP(**options)
