"""PS-KD against its formula."""

import math

import pytest
import torch

from epsd_mm.distillation import (
    Observation,
    PSKDLoss,
    ps_kd_divergence,
    ps_kd_loss,
)


def cross_entropy(z, target):
    """−Σ_c target log softmax(z), one exponential at a time."""
    total = sum(math.exp(v) for v in z)
    return -sum(t * math.log(math.exp(v) / total) for v, t in zip(z, target))


def one_hot(label, classes):
    return [float(c == label) for c in range(classes)]


def softened(logits, labels, past, weights, alpha):
    """Σ w (CE(z, (1−α) y + α P) − CE(z, y)), with the target of the paper."""
    total = 0.0
    rows = zip(logits.tolist(), labels.tolist(), past.tolist(), weights)
    for z, label, p, w in rows:
        y = one_hot(label, len(z))
        target = [(1 - alpha) * a + alpha * b for a, b in zip(y, p)]
        total += w * (cross_entropy(z, target) - cross_entropy(z, y))
    return total


@pytest.fixture
def case():
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64) * 2
    past = torch.softmax(torch.randn(5, 4, dtype=torch.float64) * 2, dim=1)
    labels = torch.tensor([0, 3, 1, 1, 2])
    weights = torch.rand(5, dtype=torch.float64)
    return logits, labels, past, weights


@pytest.mark.parametrize('alpha', [0.1, 0.8, 1.0])
def test_value(case, alpha):
    logits, labels, past, weights = case
    want = softened(logits, labels, past, weights.tolist(), alpha)
    got = ps_kd_loss(logits, labels, past, weights, alpha)
    assert float(got) == pytest.approx(want, rel=1e-12)
    want = softened(logits, labels, past, [0.2] * 5, alpha)
    got = ps_kd_loss(logits, labels, past, alpha=alpha)
    assert float(got) == pytest.approx(want, rel=1e-12)


def test_gradient(case):
    """∂/∂z = α w (y − P): the softmax cancels."""
    logits, labels, past, weights = case
    logits.requires_grad_(), past.requires_grad_()
    ps_kd_loss(logits, labels, past, weights, 0.8).backward()
    y = torch.eye(4, dtype=torch.float64)[labels]
    want = 0.8 * weights[:, None] * (y - past.detach())
    assert torch.allclose(logits.grad, want, rtol=1e-10, atol=1e-14)
    assert past.grad is None


def test_with_cross_entropy_it_is_the_paper_s_loss(case):
    logits, labels, past, _ = case
    plain = torch.nn.functional.cross_entropy(logits, labels)
    target = 0.3 * torch.eye(4, dtype=torch.float64)[labels] + 0.7 * past
    want = torch.nn.functional.cross_entropy(logits, target)
    got = plain + ps_kd_loss(logits, labels, past, alpha=0.7)
    assert float(got) == pytest.approx(float(want), rel=1e-12)


def test_a_history_of_true_labels_changes_nothing(case):
    logits, labels, _, weights = case
    past = torch.eye(4, dtype=torch.float64)[labels]
    assert float(ps_kd_loss(logits, labels, past, weights)) == 0


def test_divergence_is_kl_with_its_gradient(case):
    logits, _, past, weights = case
    past = past.clone()
    past[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # 0 log 0 is 0
    logits.requires_grad_()
    got = ps_kd_divergence(logits, past, weights, 0.8)
    want = 0.0
    rows = zip(logits.tolist(), past.tolist(), weights.tolist())
    for z, p, w in rows:
        q = [math.exp(v) / sum(math.exp(u) for u in z) for v in z]
        want += w * sum(a * math.log(a / b) for a, b in zip(p, q) if a)
    assert float(got) == pytest.approx(0.8 * want, rel=1e-12)
    got.backward()
    difference = torch.softmax(logits.detach(), 1) - past
    assert torch.allclose(logits.grad, 0.8 * weights[:, None] * difference)


def observe(case, cross_entropy):
    logits, labels, _, weights = case
    images = torch.arange(len(logits))
    return Observation(
        logits, labels, weights, images, cross_entropy=cross_entropy
    )


def test_alpha_grows_linearly(case):
    """α_t = α_T (t + 1) / T, and α_T where nothing else is said."""
    logits, labels, past, weights = case
    everywhere = torch.ones(5, dtype=torch.bool)
    loss = PSKDLoss(alpha=0.8)
    for epoch in range(4):
        got = loss(
            observe(case, 1.0), past, everywhere, progress=(epoch + 1) / 4
        )
        alpha = 0.8 * (epoch + 1) / 4
        want = softened(logits, labels, past, weights.tolist(), alpha)
        assert float(got) == pytest.approx(want, rel=1e-9)
    assert float(loss(observe(case, 1.0), past, everywhere)) == float(got)


def test_only_what_was_seen_before_counts(case):
    logits, labels, past, weights = case
    found = torch.tensor([True, False, True, False, False])
    got = PSKDLoss()(observe(case, 1.0), past, found)
    want = softened(
        logits[found], labels[found], past[found], weights[found].tolist(), 0.8
    )
    assert float(got) == pytest.approx(want)
    nothing = torch.zeros(5, dtype=torch.bool)
    assert float(PSKDLoss()(observe(case, 1.0), past, nothing)) == 0


def test_it_is_scaled_by_the_weight_of_the_tasks_cross_entropy(case):
    logits, labels, past, weights = case
    everywhere = torch.ones(5, dtype=torch.bool)
    got = PSKDLoss(loss_weight=2.0)(observe(case, 0.5), past, everywhere)
    want = softened(logits, labels, past, weights.tolist(), 0.8)
    assert float(got) == pytest.approx(want)


def test_beside_another_loss_it_is_the_divergence(case):
    logits, _, past, weights = case
    everywhere = torch.ones(5, dtype=torch.bool)
    got = PSKDLoss(alpha=0.5)(observe(case, 0.0), past, everywhere)
    assert float(got) == float(ps_kd_divergence(logits, past, weights, 0.5))
    assert float(got) > 0


def test_it_can_be_differentiated_twice(case):
    logits, labels, past, weights = case
    logits.requires_grad_()
    for term in (
        lambda z: ps_kd_loss(z, labels, past, weights).square(),
        lambda z: ps_kd_divergence(z, past, weights),
    ):
        assert torch.autograd.gradgradcheck(term, [logits])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(alpha=0.0), 'alpha=0.0'),
        (dict(alpha=1.5), 'alpha=1.5'),
        (dict(top_k=0), 'top_k=0'),
        (dict(top_k=2.0), 'top_k=2.0'),
        (dict(loss_weight=0), 'loss_weight=0'),
        (dict(loss_weight=float('inf')), 'loss_weight=inf'),
        (dict(alpha='0.3'), "alpha='0.3'"),
        (dict(alpha=True), 'alpha=True'),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        PSKDLoss(**options)
