"""Criteria by hand, where a formula or a figure can be written down.

The loss is ``½ (θ − c)ᵀ A (θ − c)``: its gradient is ``A (θ − c)`` and its
Hessian is ``A`` everywhere.
"""

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
    SynFlow,
    prunable_parameters,
)
from tests.helpers.oracles import relative_error
from tests.helpers.selections import find_masks

SIZE = 5


def quadratic(model, batch):
    A, c = batch
    offset = model.weight[0] - c
    return offset @ A @ offset / 2


def at(values):
    """A layer with these weights and no bias."""
    values = torch.as_tensor(values, dtype=torch.float64)
    layer = nn.Linear(len(values), 1, bias=False).double()
    layer.weight.data[0] = values
    return layer


def scores(criterion, layer, batches, masks=None):
    return criterion.scores(
        ModuleObjective(layer, quadratic),
        dict(layer.named_parameters()),
        masks or Masks.ones_like(prunable_parameters(layer)),
        iter([batch] for batch in batches),
    )


def kept(criterion, layer, batches, sparsity, **options):
    """Places of the weights that are kept; one batch a draw."""
    found = find_masks(
        ModuleObjective(layer, quadratic),
        criterion,
        dict(layer.named_parameters()),
        Masks.ones_like(prunable_parameters(layer)),
        lambda draw: [batches[draw]],
        sparsity=sparsity,
        **options,
    )
    return found.masks['weight'][0].nonzero().ravel().tolist()


@pytest.fixture
def theta():
    return torch.randn(SIZE, dtype=torch.float64)


@pytest.fixture
def surfaces():
    """A matrix and a centre for each step."""
    roots = torch.randn(4, SIZE, SIZE, dtype=torch.float64)
    centres = torch.randn(4, SIZE, dtype=torch.float64)
    return [(root @ root.T, c) for root, c in zip(roots, centres)]


def one():
    return torch.eye(SIZE, dtype=torch.float64)


def agrees(got, want):
    assert relative_error(got, {'weight': want[None]}) < 1e-12


def test_prospr_in_figures():
    """θ_0 = 3, ½·2·(θ − 1)², η = 0.1, one step.

    g_0 = 4, θ_1 = 2.6, g_1 = 3.2, v_0 = (1 − 0.2)·3.2 = 2.56.
    """
    batch = torch.tensor([[2.0]]).double(), torch.tensor([1.0]).double()

    def score(**options):
        criterion = ProsPr(**dict(steps=1, lr=0.1) | options)
        return float(scores(criterion, at([3.0]), [batch] * 2)['weight'])

    assert score() == pytest.approx(3 * 2.56, rel=1e-12)
    assert score(first_order=True) == pytest.approx(3 * 3.2, rel=1e-12)
    assert score(steps=0) == pytest.approx(3 * 4, rel=1e-12)


@pytest.mark.parametrize('steps', [0, 1, 2, 3])
def test_prospr_is_a_product_of_matrices(theta, surfaces, steps):
    lr, moved, product = 0.07, theta, one()
    for A, c in surfaces[:steps]:
        moved = moved - lr * A @ (moved - c)
        product = product @ (one() - lr * A)
    A, c = surfaces[steps]
    want = (theta * (product @ A @ (moved - c))).abs()
    agrees(scores(ProsPr(steps, lr), at(theta), surfaces), want)


def test_matrices_do_not_commute_in_these_tests(surfaces):
    (A, _), (B, _) = surfaces[:2]
    assert (A @ B - B @ A).norm() > 0.1 * (A @ B).norm()


def test_prospr_without_steps_is_snip(theta, surfaces):
    A, c = surfaces[0]
    want = (theta * (A @ (theta - c))).abs()
    agrees(scores(ProsPr(steps=0), at(theta), surfaces), want)
    agrees(scores(SNIP(), at(theta), surfaces), want)


def test_first_order_drops_the_hessians_and_still_takes_the_steps(
    theta, surfaces
):
    lr, moved = 0.07, theta
    for A, c in surfaces[:3]:
        moved = moved - lr * A @ (moved - c)
    A, c = surfaces[3]
    want = (theta * (A @ (moved - c))).abs()
    criterion = ProsPr(steps=3, lr=lr, first_order=True)
    agrees(scores(criterion, at(theta), surfaces), want)


@pytest.mark.parametrize('momentum', [0.0, 0.5, 0.9])
def test_two_steps_with_momentum(theta, surfaces, momentum):
    """θ_2 = θ_1 − η(μg_0 + g_1) with θ_1 = θ_0 − ηg_0, and so

    ∂θ_2/∂θ_0 = I − ηA_0 − η(μA_0 + A_1(I − ηA_0)).
    """
    lr = 0.07
    (A0, c0), (A1, c1), (A2, c2) = surfaces[:3]
    first = theta - lr * A0 @ (theta - c0)
    speed = momentum * A0 @ (theta - c0) + A1 @ (first - c1)
    gradient = A2 @ (first - lr * speed - c2)
    bend = one() - lr * A0
    jacobian = bend - lr * (momentum * A0 + A1 @ bend)
    want = (theta * (jacobian.T @ gradient)).abs()
    criterion = ProsPr(steps=2, lr=lr, momentum=momentum)
    agrees(scores(criterion, at(theta), surfaces), want)


def test_prospr_scores_the_masked_network(theta, surfaces):
    """θ_0 = θ_init ⊙ m; the inner steps move removed weights too."""
    lr, (A0, c0), (A1, c1) = 0.07, *surfaces[:2]
    mask = torch.tensor([True, False, True, True, False])
    start = theta * mask
    moved = start - lr * A0 @ (start - c0)
    want = (start * ((one() - lr * A0) @ A1 @ (moved - c1))).abs()
    masks = Masks({'weight': mask[None]})
    agrees(scores(ProsPr(1, lr), at(theta), surfaces, masks), want)


def test_grasp_is_weight_times_hessian_times_gradient(theta, surfaces):
    A, c = surfaces[0]
    want = theta * (A @ A @ (theta - c))
    assert want.min() < 0 < want.max()
    agrees(scores(GraSP(), at(theta), surfaces), want)


def test_grasp_keeps_what_the_gradient_flow_would_lose():
    """With A = I, removing θ_p changes |g|² by 2θ_p c_p − θ_p²."""
    theta = torch.tensor([0.1, 0.1, 0.1, -0.1, -0.1, -0.1]).double()
    c = torch.tensor([-3.0, 4.0, 0.5, -5.0, 6.0, 1.0]).double()
    change = {}
    for p in range(6):
        pruned = theta.clone()
        pruned[p] = 0
        change[p] = float((pruned - c).norm() ** 2 - (theta - c).norm() ** 2)
    want = sorted(sorted(change, key=change.get)[:3])
    assert want == [0, 4, 5]
    batch = torch.eye(6).double(), c
    assert kept(GraSP(), at(theta), [batch], 0.5) == want


def test_each_criterion_in_figures():
    """θ = (1, −2, 3, 4), g = (4, 3, 0.5, −0.25) as A = I."""
    theta = torch.tensor([1.0, -2.0, 3.0, 4.0])
    gradient = torch.tensor([4.0, 3.0, 0.5, -0.25])
    batch = torch.eye(4).double(), (theta - gradient).double()
    for criterion, want in (
        (Magnitude(), [1, 2, 3, 4]),
        (SNIP(), [4, 6, 1.5, 1]),
        (IterSNIP(), [4, 6, 1.5, 1]),
        (FORCE(), [4, 6, 1.5, 1]),
        (GraSP(), [4, -6, 1.5, -1]),
    ):
        got = scores(criterion, at(theta), [batch])['weight'][0]
        assert got.tolist() == pytest.approx(want, rel=1e-12)


def test_what_a_removed_weight_scores():
    """θ = (1, 1, 1) with its first weight removed, c = (5, 0, −1)."""
    batch = torch.eye(3).double(), torch.tensor([5.0, 0.0, -1.0]).double()
    masks = Masks({'weight': torch.tensor([[False, True, True]])})
    for criterion, first in ((IterSNIP(), 0), (FORCE(), 5)):
        got = scores(criterion, at([1.0, 1.0, 1.0]), [batch], masks)
        assert got['weight'].tolist() == [pytest.approx([first, 1, 2])]


def two_rounds():
    """θ = 1: the first round removes weight 0, the second would want it.

    Round 1: |g| = 0.1, 1, 2, 3. Round 2 at (0, 1, 1, 1): 5, 0.1, 2, 0.5.
    """
    centres = [[0.9, 0.0, -1.0, -2.0], [5.0, 0.9, -1.0, 0.5]]
    return [(torch.eye(4).double(), torch.tensor(c).double()) for c in centres]


@pytest.mark.parametrize('schedule', ['linear', 'exponential'])
def test_force_lets_a_weight_come_back_and_the_iterative_snip_does_not(
    schedule,
):
    layer = at([1.0, 1.0, 1.0, 1.0])
    force, snip = FORCE(2, schedule), IterSNIP(2, schedule)
    assert kept(SNIP(), layer, two_rounds(), 0.25) == [1, 2, 3]
    assert kept(force, layer, two_rounds(), 0.5) == [0, 2]
    assert kept(snip, layer, two_rounds(), 0.5) == [2, 3]


class Positive(nn.Module):
    """Convolutions and linear layers without any bias."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 3, 3, stride=2, bias=False)
        self.third = nn.Linear(3, 6, bias=False)
        self.last = nn.Linear(6, 2, bias=False)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu().mean(dim=(2, 3))
        return self.last(self.third(x).relu())


def flow(model, inputs, masks=None):
    prunable = prunable_parameters(model)
    return SynFlow().scores(
        ModuleObjective(model, None),
        dict(model.named_parameters()),
        masks or Masks.ones_like(prunable),
        iter([[inputs]]),
    )


def test_synaptic_flow_is_the_same_through_every_layer():
    model = Positive()
    got = flow(model, torch.randn(3, 2, 6, 6))
    assert len(got) == 4
    for p in model.parameters():
        p.data.abs_()
    outputs = model.double()(torch.ones(1, 2, 6, 6).double())
    R = float(outputs.detach().sum())
    for name, tensor in got.items():
        assert float(tensor.sum()) == pytest.approx(R, rel=1e-12), name


def test_synaptic_flow_into_a_unit_is_the_flow_out_of_it():
    got = flow(Positive(), torch.randn(3, 2, 6, 6))
    units = got['third.weight'].sum(dim=1), got['last.weight'].sum(dim=0)
    assert torch.allclose(*units, rtol=1e-12)
    channels = [
        got['first.weight'].sum(dim=(1, 2, 3)),
        got['second.weight'].sum(dim=(0, 2, 3)),
    ]
    assert torch.allclose(*channels, rtol=1e-12)


def test_synaptic_flow_of_a_linear_chain():
    """R = 1ᵀ|B||A|1: what flows along an edge is the sum over its paths."""
    model = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)
    )
    mask = torch.rand(4, 3) > 0.4
    masks = Masks({'0.weight': mask, '2.weight': torch.ones(2, 4).bool()})
    A = (model[0].weight.detach() * mask).abs().double()
    B = model[2].weight.detach().abs().double()
    want = {
        '0.weight': A * B.sum(dim=0)[:, None],
        '2.weight': B * A.sum(dim=1),
    }
    got = flow(model, torch.randn(5, 3), masks)
    assert relative_error(got, want) < 1e-12
