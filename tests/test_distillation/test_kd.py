"""Knowledge distillation against its formula."""

import numpy as np
import pytest
import torch

from epsd_mm.distillation import (
    KD,
    Lesson,
    Observation,
    kd_divergence,
    kd_loss,
)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, labels):
    return -np.log(softmax(z)[np.arange(len(z)), labels])


def divergence(z, teacher, T, independent=False):
    """Σ_c p log(p / q), of each row."""
    if not independent:
        p, q = softmax(teacher / T), softmax(z / T)
        return (p * np.log(p / q)).sum(axis=1)
    p, q = sigmoid(teacher / T), sigmoid(z / T)
    yes, no = p * np.log(p / q), (1 - p) * np.log((1 - p) / (1 - q))
    return (yes + no).sum(axis=1)


@pytest.fixture
def case():
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, dtype=torch.float64) * 2
    labels = torch.tensor([0, 3, 1, 1, 2])
    weights = torch.rand(5, dtype=torch.float64)
    return logits, labels, teacher, weights


def observe(logits, labels, weights, **options):
    return Observation(
        logits, labels, weights, torch.arange(len(logits)), **options
    )


EVERY = torch.ones(5, dtype=torch.bool)


@pytest.mark.parametrize('alpha', [0.1, 0.95, 1.0])
@pytest.mark.parametrize('T', [1.0, 10.0])
def test_with_the_cross_entropy_it_is_hintons_loss(case, T, alpha):
    logits, labels, teacher, weights = case
    z, y, t, w = (part.numpy() for part in case)
    task = (w * cross_entropy(z, y)).sum()
    taught = T**2 * (w * divergence(z, t, T)).sum()
    want = (1 - alpha) * task + alpha * taught
    got = task + float(kd_loss(logits, labels, teacher, weights, T, alpha))
    assert got == pytest.approx(want, rel=1e-12)
    want = (1 - alpha) * cross_entropy(z, y).mean()
    want += alpha * T**2 * divergence(z, t, T).mean()
    got = float(kd_loss(logits, labels, teacher, None, T, alpha))
    assert got + cross_entropy(z, y).mean() == pytest.approx(want, rel=1e-12)


def test_gradient_reaches_the_student_alone(case):
    """∂/∂z = α w (T (σ(z/T) − σ(z'/T)) − (σ(z) − y))."""
    logits, labels, teacher, weights = case
    logits.requires_grad_(), teacher.requires_grad_()
    kd_loss(logits, labels, teacher, weights, 4.0, 0.9).backward()
    z, y, t, w = (part.detach().numpy() for part in case)
    want = 4 * (softmax(z / 4) - softmax(t / 4)) - (softmax(z) - np.eye(4)[y])
    want = 0.9 * w[:, None] * want
    assert np.allclose(logits.grad.numpy(), want, rtol=1e-10, atol=1e-14)
    assert teacher.grad is None


@pytest.mark.parametrize('independent', [False, True])
def test_beside_another_loss_the_divergence_is_all(case, independent):
    logits, labels, teacher, weights = case
    z, _, t, w = (part.numpy() for part in case)
    want = 0.9 * 9 * (w * divergence(z, t, 3.0, independent)).sum()
    got = kd_divergence(logits, teacher, weights, 3.0, 0.9, independent)
    assert float(got) == pytest.approx(want, rel=1e-12)
    seen = observe(logits, labels, weights, use_sigmoid=independent)
    got = KD(temperature=3.0)(seen, teacher, EVERY)
    assert float(got) == pytest.approx(want, rel=1e-12)


def test_the_factor_of_the_tasks_loss_counts_and_those_that_are_found(case):
    """A loss_weight of the term leaves the cross-entropy it replaces."""
    logits, labels, teacher, weights = case
    z, y, t, w = (part.numpy()[1:4] for part in case)
    found = torch.tensor([False, True, True, True, False])
    seen = observe(logits, labels, weights, cross_entropy=0.5)
    got = KD(alpha=0.7, loss_weight=3.0)(seen, teacher, found)
    rows = 3 * 16 * divergence(z, t, 4.0) - cross_entropy(z, y)
    assert float(got) == pytest.approx(0.5 * 0.7 * (w * rows).sum())


def test_no_weight_lets_it_run_to_minus_infinity(case):
    """At most the whole cross-entropy is taken, whatever the weights are."""
    logits, labels, teacher, weights = case
    far = (logits * 1e3).requires_grad_()
    seen = observe(far, labels, weights, cross_entropy=1.0)
    term = KD(alpha=1.0, loss_weight=5.0)(seen, teacher, EVERY)
    task = (weights * cross_entropy(far.detach().numpy(), labels)).sum()
    assert float(term) + float(task) > 0


def test_nothing_found_is_exactly_zero_with_a_gradient(case):
    logits, labels, teacher, weights = case
    seen = observe(logits.requires_grad_(), labels, weights, cross_entropy=1.0)
    term = KD()(seen, teacher, ~EVERY)
    term.backward()
    assert float(term.detach()) == 0 and not logits.grad.any()


def test_it_can_be_differentiated_twice(case):
    logits, labels, teacher, _ = case
    assert torch.autograd.gradgradcheck(
        lambda z: kd_loss(z, labels[:3], teacher[:3]),
        [logits[:3].clone().requires_grad_()],
    )


def test_it_is_built_without_a_teacher_and_says_what_it_needs():
    assert KD().teacher is None and type(KD().needs) is Lesson


def test_a_network_is_no_part_of_the_loss():
    loss = KD(teacher=torch.nn.Linear(2, 2))
    assert not list(loss.parameters()) and not loss.state_dict()


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(temperature=0.0), 'temperature=0.0'),
        (dict(alpha=1.5), r'alpha=1.5 must be in \(0, 1\]'),
        (dict(alpha=0), 'alpha=0'),
        (dict(loss_weight=-1.0), 'loss_weight=-1.0'),
        (dict(teacher='a.pth'), "teacher='a.pth' must be dict"),
        (dict(teacher=dict(config='a.py')), 'checkpoint=PATH'),
        (dict(teacher=dict(config='', checkpoint='b')), 'config=PATH'),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        KD(**options)
