"""CS-KD against its formula."""

import math

import pytest
import torch

from epsd_mm.distillation import CSKDLoss, Observation, cs_kd_loss


def transcription(logits, partner, weights, T):
    """T² Σ_i w_i Σ_c p log(p / q), one exponential at a time."""
    total = 0.0
    for z, other, w in zip(logits.tolist(), partner.tolist(), weights):
        p = [math.exp(v / T) for v in other]
        q = [math.exp(v / T) for v in z]
        p = [v / sum(p) for v in p]
        q = [v / sum(q) for v in q]
        total += w * sum(a * math.log(a / b) for a, b in zip(p, q))
    return T**2 * total


def rows(n=5, classes=3, scale=2.0):
    return torch.randn(n, classes, dtype=torch.float64) * scale


@pytest.mark.parametrize('T', [1.0, 4.0, 0.5])
def test_value(T):
    z, other = rows(), rows()
    weights = torch.rand(5, dtype=torch.float64)
    want = transcription(z, other, weights.tolist(), T)
    got = cs_kd_loss(z, other, weights, T)
    assert float(got) == pytest.approx(want, rel=1e-12)
    mean = cs_kd_loss(z, other, temperature=T)
    want = transcription(z, other, [1 / 5] * 5, T)
    assert float(mean) == pytest.approx(want, rel=1e-12)


def test_default_temperature_is_the_authors():
    z, other = rows(), rows()
    assert cs_kd_loss(z, other) == cs_kd_loss(z, other, temperature=4.0)
    assert (CSKDLoss().temperature, CSKDLoss().loss_weight) == (4.0, 1.0)


@pytest.mark.parametrize('T', [1.0, 4.0])
def test_gradient(T):
    """∂/∂z = T w (softmax(z / T) − softmax(z' / T))."""
    z, other = rows().requires_grad_(), rows()
    weights = torch.rand(5, dtype=torch.float64)
    (got,) = torch.autograd.grad(cs_kd_loss(z, other, weights, T), z)
    difference = torch.softmax(z / T, dim=1) - torch.softmax(other / T, dim=1)
    want = T * weights[:, None] * difference
    assert torch.allclose(got, want.detach(), rtol=1e-10, atol=1e-14)


def test_it_can_be_differentiated_twice():
    z, other = rows(3).requires_grad_(), rows(3)
    assert torch.autograd.gradgradcheck(lambda x: cs_kd_loss(x, other), [z])


def test_the_teacher_gets_no_gradient():
    z, other = rows().requires_grad_(), rows().requires_grad_()
    cs_kd_loss(z, other).backward()
    assert z.grad.any()
    assert other.grad is None


def test_it_is_zero_for_equal_predictions_and_positive_otherwise():
    z = rows()
    assert float(cs_kd_loss(z, z)) == 0
    assert float(cs_kd_loss(z, z + 7)) == pytest.approx(0, abs=1e-12)
    assert float(cs_kd_loss(z, -z)) > 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    z, other = rows().to(dtype), rows().to(dtype)
    got = cs_kd_loss(z, other)
    assert got.dtype == torch.float32
    want = transcription(z.double(), other.double(), [1 / 5] * 5, 4.0)
    # Weights that are made up here come in the type of the logits.
    assert float(got) == pytest.approx(want, rel=1e-2)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_large_logits_stay_finite(dtype):
    z = torch.tensor([[6e4, -6e4, 0.0]], dtype=dtype).requires_grad_()
    loss = cs_kd_loss(z, -z.detach())
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all()


def test_without_samples_it_is_zero_and_differentiable():
    z = torch.randn(4, 3, requires_grad=True)
    loss = cs_kd_loss(z[:0], torch.zeros(0, 3))
    loss.backward()
    assert float(loss) == 0
    assert torch.equal(z.grad, torch.zeros(4, 3))


def observation(z, weights):
    n = len(z)
    return Observation(
        z, torch.zeros(n).long(), weights, torch.arange(n), [None] * n
    )


def test_the_module_counts_only_what_was_found():
    z, other = rows().requires_grad_(), rows()
    other[1] = float('nan')
    found = torch.tensor([True, False, True, True, False])
    weights = torch.rand(5, dtype=torch.float64)
    loss = CSKDLoss(temperature=2.0, loss_weight=3.0)(
        observation(z, weights), other, found
    )
    keep = found.tolist()
    want = 3 * transcription(
        z[found], other[found], weights[found].tolist(), 2.0
    )
    assert float(loss) == pytest.approx(want, rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, z)
    assert [bool(row.any()) for row in gradient] == keep


def test_the_module_without_anything_found():
    z = torch.randn(4, 3, requires_grad=True)
    loss = CSKDLoss()(
        observation(z, torch.ones(4)), torch.zeros(4, 3), torch.zeros(4).bool()
    )
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss) == 0 and not gradient.any()


@pytest.mark.parametrize(
    'options',
    [
        dict(temperature=0),
        dict(temperature=-1.0),
        dict(temperature=float('nan')),
        dict(loss_weight=0),
        dict(loss_weight=-1),
    ],
)
def test_settings_that_make_no_sense(options):
    ((name, _),) = options.items()
    with pytest.raises(ValueError, match=f'{name}=.*must be positive'):
        CSKDLoss(**options)
