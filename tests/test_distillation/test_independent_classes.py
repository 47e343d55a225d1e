"""Beside a sigmoid each class is a yes or a no of its own."""

import math

import pytest
import torch

from epsd_mm.distillation import (
    CSKDLoss,
    DLBLoss,
    Observation,
    PSKDLoss,
    cs_kd_loss,
    dlb_loss,
    ps_kd_divergence,
)

SOFTENED = [cs_kd_loss, dlb_loss]


def log_sigmoid(z):
    return -math.log1p(math.exp(-z))


def softened(now, other, weights, T):
    """``T² Σ_i w_i Σ_c KL(Bernoulli(σ(z'/T)) ‖ Bernoulli(σ(z/T)))``."""
    total = 0.0
    for z_row, other_row, w in zip(now.tolist(), other.tolist(), weights):
        for z, y in zip(z_row, other_row):
            for sign in (1, -1):
                teacher = log_sigmoid(sign * y / T)
                student = log_sigmoid(sign * z / T)
                total += w * math.exp(teacher) * (teacher - student)
    return T**2 * total


def remembered(now, past, weights, alpha):
    """``α Σ_i w_i Σ_c KL(Bernoulli(P) ‖ Bernoulli(σ(z)))``."""
    total = 0.0
    for z_row, p_row, w in zip(now.tolist(), past.tolist(), weights):
        for z, p in zip(z_row, p_row):
            for share, sign in ((p, 1), (1 - p, -1)):
                if share:
                    gap = math.log(share) - log_sigmoid(sign * z)
                    total += w * share * gap
    return alpha * total


@pytest.fixture
def case():
    """Logits, others' logits, probabilities and weights of 5 samples."""
    z, other = (2 * torch.randn(5, 3, dtype=torch.float64) for _ in range(2))
    past = torch.rand(5, 3, dtype=torch.float64)
    past[0] = torch.tensor([0.0, 1.0, 0.5])  # 0 log 0 is 0
    weights = torch.rand(5, dtype=torch.float64)
    return z.requires_grad_(), other.requires_grad_(), past, weights


@pytest.mark.parametrize('loss', SOFTENED)
@pytest.mark.parametrize('T', [1.0, 4.0])
def test_softened_value_and_gradient(loss, T, case):
    """∂/∂z = T w (σ(z / T) − σ(z' / T)), none for the teacher."""
    z, other, _, weights = case
    got = loss(z, other, weights, T, use_sigmoid=True)
    want = softened(z, other, weights.tolist(), T)
    assert got.item() == pytest.approx(want, rel=1e-12)
    got.backward()
    difference = torch.sigmoid(z / T) - torch.sigmoid(other / T)
    want = (T * weights[:, None] * difference).detach()
    assert torch.allclose(z.grad, want, rtol=1e-10, atol=1e-14)
    assert other.grad is None
    assert loss(z, z, weights, T, use_sigmoid=True).item() == 0


def test_remembered_value_and_gradient(case):
    """∂/∂z = α w (σ(z) − P)."""
    z, _, past, weights = case
    got = ps_kd_divergence(z, past, weights, 0.8, use_sigmoid=True)
    want = remembered(z, past, weights.tolist(), 0.8)
    assert got.item() == pytest.approx(want, rel=1e-12)
    got.backward()
    want = 0.8 * weights[:, None] * (torch.sigmoid(z.detach()) - past)
    assert torch.allclose(z.grad, want, rtol=1e-10, atol=1e-14)


def test_they_can_be_differentiated_twice(case):
    z, other, past, weights = case
    other.requires_grad_(False)
    for loss in SOFTENED:
        assert torch.autograd.gradgradcheck(
            lambda x, loss=loss: loss(x, other, weights, use_sigmoid=True), [z]
        )
    assert torch.autograd.gradgradcheck(
        lambda x: ps_kd_divergence(x, past, weights, use_sigmoid=True), [z]
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_certain_predictions_stay_finite_and_right(dtype):
    """A sigmoid of ±80 is 0 or 1 in float32, its logarithm is not lost."""
    z = torch.tensor([[80.0, -80.0, 80.0, -80.0, 0.0]], dtype=dtype)
    other = torch.tensor([[-80.0, 80.0, 80.0, -80.0, 80.0]], dtype=dtype)
    past = torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.25]], dtype=dtype)
    z.requires_grad_()
    cases = [
        (loss(z, other, None, 1.0, True), softened(z, other, [1.0], 1.0))
        for loss in SOFTENED
    ]
    got = ps_kd_divergence(z, past, alpha=1.0, use_sigmoid=True)
    cases.append((got, remembered(z, past, [1.0], 1.0)))
    for got, want in cases:
        assert want > 100
        assert got.item() == pytest.approx(want, rel=1e-6)
        (first,) = torch.autograd.grad(got, z, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), z)
        assert first.isfinite().all() and second.isfinite().all()
        slopes = first[0, :2].tolist()
        assert slopes == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize('sigmoid', [True, False])
def test_modules_know_what_the_classes_are_by_the_observation(sigmoid, case):
    z, other, past, weights = (tensor.detach() for tensor in case)
    if not sigmoid:
        past = past / past.sum(dim=1, keepdim=True)
    n = len(z)
    observation = Observation(
        z,
        torch.zeros(n).long(),
        weights,
        torch.arange(n),
        use_sigmoid=sigmoid,
    )
    everywhere = torch.ones(n, dtype=torch.bool)
    for loss, teacher, function in (
        (CSKDLoss(2.0), other, cs_kd_loss),
        (DLBLoss(2.0), other, dlb_loss),
    ):
        got = loss(observation, teacher, everywhere).item()
        assert got == function(z, other, weights, 2.0, sigmoid).item()
        alone = softened(z, other, weights.tolist(), 2.0)
        assert (got == pytest.approx(alone)) == sigmoid
    got = PSKDLoss(0.5)(observation, past, everywhere).item()
    alone = remembered(z, past, weights.tolist(), 0.5)
    assert (got == pytest.approx(alone)) == sigmoid
    assert got == ps_kd_divergence(z, past, weights, 0.5, sigmoid).item()


def test_probabilities_of_an_observation(case):
    z = case[0].detach().half()
    n = len(z)
    weights, images = torch.ones(n), torch.arange(n)
    for sigmoid, want in ((True, z.float().sigmoid()), (False, None)):
        observation = Observation(
            z, images, weights, images, use_sigmoid=sigmoid
        )
        got = observation.probabilities()
        assert got.dtype == torch.float32
        if sigmoid:
            assert torch.equal(got, want)
        assert torch.allclose(got.sum(1), torch.ones(n)) == (not sigmoid)
