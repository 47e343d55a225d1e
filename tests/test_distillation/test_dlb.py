"""DLB against its formula."""

import math

import pytest
import torch

from epsd_mm.distillation import DLBLoss, Observation, dlb_loss


def transcription(now, before, weights, T):
    """T² Σ_i w_i Σ_c p log(p / q), one exponential at a time."""
    total = 0.0
    for z, past, w in zip(now.tolist(), before.tolist(), weights):
        p = [math.exp(v / T) for v in past]
        q = [math.exp(v / T) for v in z]
        total += w * sum(
            a / sum(p) * math.log(a / sum(p) * sum(q) / b)
            for a, b in zip(p, q)
        )
    return T**2 * total


def rows(n=6, classes=3):
    return torch.randn(n, classes, dtype=torch.float64) * 2


def observe(logits, weights=None):
    n = len(logits)
    if weights is None:
        weights = torch.full((n,), 1 / n, dtype=torch.float64)
    return Observation(
        logits, torch.zeros(n, dtype=torch.long), weights, torch.arange(n)
    )


@pytest.mark.parametrize('T', [1.0, 3.0])
def test_value(T):
    now, before = rows(), rows()
    weights = torch.rand(6, dtype=torch.float64)
    want = transcription(now, before, weights.tolist(), T)
    assert float(dlb_loss(now, before, weights, T)) == pytest.approx(want)
    want = transcription(now, before, [1 / 6] * 6, T)
    assert float(dlb_loss(now, before, temperature=T)) == pytest.approx(want)


def test_gradient():
    """∂/∂z = T w (softmax(z / T) − softmax(z' / T))."""
    now, before = rows().requires_grad_(), rows().requires_grad_()
    weights = torch.rand(6, dtype=torch.float64)
    dlb_loss(now, before, weights, 3.0).backward()
    difference = torch.softmax(now / 3, 1) - torch.softmax(before / 3, 1)
    want = 3 * weights[:, None] * difference
    assert torch.allclose(now.grad, want.detach(), rtol=1e-10, atol=1e-14)
    assert before.grad is None


def test_the_term_is_the_mean_over_the_shared_half():
    """As the authors divide it: by the images that are shared."""
    now, before = rows(), rows()
    found = torch.tensor([False, False, False, True, True, True])
    got = DLBLoss(temperature=3.0, loss_weight=2.0)(
        observe(now), before, found
    )
    want = 2 * transcription(now[3:], before[3:], [1 / 3] * 3, 3.0)
    assert float(got) == pytest.approx(want)


def test_shares_of_the_shared_samples_keep_their_ratio():
    now, before = rows(), rows()
    weights = torch.tensor([0.1, 0.1, 0.2, 0.3, 0.1, 0.0]).double()
    found = torch.tensor([False, False, True, True, False, False])
    got = DLBLoss()(observe(now, weights), before, found)
    want = transcription(now[2:4], before[2:4], [0.8 * 0.4, 0.8 * 0.6], 3.0)
    assert float(got) == pytest.approx(want)


def test_nothing_shared_is_exactly_zero_with_a_gradient():
    now = rows().requires_grad_()
    loss = DLBLoss()(observe(now), rows(), torch.zeros(6, dtype=torch.bool))
    loss.backward()
    assert float(loss) == 0 and not now.grad.any()


def test_it_can_be_differentiated_twice():
    now, before = rows(3).requires_grad_(), rows(3)
    assert torch.autograd.gradgradcheck(lambda z: dlb_loss(z, before), [now])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(temperature=0.0), 'temperature=0.0'),
        (dict(loss_weight=-1.0), 'loss_weight=-1.0'),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        DLBLoss(**options)
