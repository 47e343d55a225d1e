"""No term compares a sample with one that is not its own.

Torch repeats a single row, column or number for all others, so that a wrong
shape would give a wrong term and no error.
"""

import math

import pytest
import torch

from epsd_mm.distillation.losses import (
    cs_kd_loss,
    dlb_loss,
    kd_divergence,
    kd_loss,
    ps_kd_divergence,
    ps_kd_loss,
)

LABELS = torch.tensor([0, 1, 2, 0])
TERMS = {
    'cs_kd_loss': cs_kd_loss,
    'dlb_loss': dlb_loss,
    'kd_divergence': kd_divergence,
    'ps_kd_divergence': ps_kd_divergence,
    'kd_loss': lambda z, rows, *weights, labels=LABELS: kd_loss(
        z, labels, rows, *weights
    ),
    'ps_kd_loss': lambda z, rows, *weights, labels=LABELS: ps_kd_loss(
        z, labels, rows, *weights
    ),
}
of_all = pytest.mark.parametrize('term', TERMS.values(), ids=TERMS)


@of_all
@pytest.mark.parametrize('shape', [(1, 3), (4, 1), (3,), (2, 3), (4, 4)])
def test_rows_are_one_for_each_sample(term, shape):
    z = torch.randn(4, 3)
    term(z, torch.rand(4, 3))
    with pytest.raises(ValueError, match=r'\(4, 3\) and .* a row for each'):
        term(z, torch.rand(shape))
    with pytest.raises(ValueError, match='a row for each sample'):
        term(z[0], torch.rand(3))


@of_all
@pytest.mark.parametrize('shape', [(), (1,), (4, 1), (3,)])
def test_weights_are_one_for_each_sample(term, shape):
    z, rows = torch.randn(4, 3), torch.rand(4, 3)
    term(z, rows, torch.ones(4))
    with pytest.raises(ValueError, match=r'weights have .* each, \(4,\)'):
        term(z, rows, torch.ones(shape))


@pytest.mark.parametrize('name', ['kd_loss', 'ps_kd_loss'])
@pytest.mark.parametrize('count', [1, 3])
def test_labels_are_one_for_each_sample(name, count):
    z, rows = torch.randn(4, 3), torch.rand(4, 3)
    with pytest.raises(ValueError, match=r'labels have .* each, \(4,\)'):
        TERMS[name](z, rows, labels=LABELS[:count])


@pytest.mark.parametrize('term', [cs_kd_loss, dlb_loss, kd_divergence])
@pytest.mark.parametrize('temperature', [0, -1.0, float('nan')])
def test_a_temperature_that_is_not_positive_is_refused(term, temperature):
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match='temperature=.* must be positive'):
        term(z, z, temperature=temperature)


Z = torch.linspace(-3, 3, 12).reshape(4, 3)
P = Z.softmax(dim=1)


@pytest.mark.parametrize(
    ('call', 'words'),
    [
        (lambda: cs_kd_loss(Z, Z, 4.0), 'weights must be .* got 4.0: .*name'),
        (lambda: dlb_loss(Z, Z, 3.0), 'weights must be a tensor'),
        (lambda: kd_loss(Z, LABELS, None), 'learn from must be .* got None'),
        (lambda: kd_loss(None, LABELS, Z), 'logits must be a tensor'),
        (lambda: kd_loss(Z, [0, 1, 2, 0], Z), 'labels must be a tensor'),
        (lambda: ps_kd_loss(Z, 1, P), 'labels must be .* got 1'),
    ],
)
def test_what_is_no_tensor_is_named(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize(
    'term',
    [lambda y: kd_loss(Z, y, Z), lambda y: ps_kd_loss(Z, y, P)],
    ids=['kd', 'ps_kd'],
)
@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (LABELS.float(), 'dtype torch.float32: give classes'),
        (torch.tensor([0, 1, 3, 0]), 'a class 3, and .* 3 classes: .* 0 to 2'),
        (torch.tensor([0, 1, -1, 0]), 'a class -1'),
    ],
)
def test_labels_that_are_no_classes_of_the_logits_are_named(
    term, labels, words
):
    with pytest.raises(ValueError, match=words):
        term(labels)


@pytest.mark.parametrize(
    'term',
    [
        lambda past: ps_kd_loss(Z, LABELS, past),
        lambda past: ps_kd_divergence(Z, past),
        lambda past: ps_kd_divergence(Z, past, use_sigmoid=True),
    ],
)
def test_logits_are_no_past_probabilities(term):
    term(P)
    with pytest.raises(ValueError, match=r'value -3, not in \[0, 1\]'):
        term(Z)


@pytest.mark.parametrize('alpha', [2, -0.1, math.nan])
@pytest.mark.parametrize(
    'term',
    [
        lambda alpha: ps_kd_loss(Z, LABELS, P, alpha=alpha),
        lambda alpha: ps_kd_divergence(Z, P, alpha=alpha),
        lambda alpha: kd_loss(Z, LABELS, Z, alpha=alpha),
        lambda alpha: kd_divergence(Z, Z, alpha=alpha),
    ],
)
def test_a_share_is_one(term, alpha):
    with pytest.raises(ValueError, match=rf'alpha={alpha} must be in \[0, 1'):
        term(alpha)


def test_the_functions_are_one_graph_for_the_compiler():
    logits, past = torch.randn(4, 5), torch.rand(4, 5)
    labels = torch.tensor([0, 1, 2, 3])
    compiled = torch.compile(ps_kd_loss, fullgraph=True, backend='eager')
    want = ps_kd_loss(logits, labels, past)
    assert torch.equal(compiled(logits, labels, past), want)
