"""The focal loss: mmdet's values, and a second derivative."""

import pytest
import torch
from mmdet.models.losses import FocalLoss
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from epsd_mm.families.twice_differentiable.focal_loss import (
    TwiceDifferentiableFocalLoss,
    replace_focal_loss,
)

# Class 3 is the background.
LABELS = torch.tensor([0, 3, 2, 1, 3])


def rows(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(5, 3, dtype=dtype, generator=generator)


def exact(**settings):
    return TwiceDifferentiableFocalLoss(FocalLoss(**settings))


def entries(logits, labels, alpha=0.25, gamma=2.0):
    """Equation 5 of the paper, one logit after the other."""
    result = torch.zeros(logits.shape, dtype=torch.float64)
    for i, label in enumerate(labels.tolist()):
        for c in range(logits.shape[1]):
            p = 1 / (1 + torch.exp(-logits[i, c].double()))
            p_t, alpha_t = (p, alpha) if c == label else (1 - p, 1 - alpha)
            result[i, c] = -alpha_t * (1 - p_t) ** gamma * torch.log(p_t)
    return result


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('alpha, gamma', [(0.25, 2.0), (0.6, 1.0), (0.5, 3)])
def test_values_and_gradients_are_the_papers(alpha, gamma, dtype):
    logits = rows(dtype).requires_grad_()
    reference = logits.detach().double().requires_grad_()
    loss = exact(alpha=alpha, gamma=gamma)(
        logits, LABELS, reduction_override='none'
    )
    want = entries(reference, LABELS, alpha, gamma)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    torch.testing.assert_close(
        loss, want.to(dtype), rtol=tolerance, atol=tolerance / 10
    )
    (got,) = torch.autograd.grad(loss.sum(), logits)
    (wanted,) = torch.autograd.grad(want.sum(), reference)
    torch.testing.assert_close(
        got, wanted.to(dtype), rtol=tolerance, atol=tolerance / 10
    )


@pytest.mark.parametrize('gamma', [0.0, 1.0, 1.5, 2.0, 3.5])
def test_second_derivatives(gamma):
    def loss(logits):
        return exact(gamma=gamma)(logits, LABELS, avg_factor=2.0)

    logits = rows().requires_grad_()
    assert gradcheck(loss, [logits])
    assert gradgradcheck(loss, [logits])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0, 2.5])
@pytest.mark.parametrize('size', [20.0, 100.0, 1e4])
def test_logits_of_any_size_have_finite_derivatives(size, gamma, dtype):
    logits = torch.tensor([[size, -size]] * 3, dtype=dtype)
    logits.requires_grad_()
    labels = torch.tensor([0, 1, 2])
    loss = exact(gamma=gamma, alpha=0.25)(
        logits, labels, reduction_override='none'
    )
    (first,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits)
    assert second.isfinite().all()
    # Far off it is a line of slope α, far on it is flat.
    want = [[0, 0], [0.75 * size, 0.25 * size], [0.75 * size, 0]]
    slopes = [[0, 0], [0.75, -0.25], [0.75, 0]]
    for got, values in ((loss, want), (first, slopes)):
        torch.testing.assert_close(
            got, torch.tensor(values, dtype=dtype), rtol=1e-6, atol=1e-6
        )


WEIGHTS = dict(
    none=None,
    rows=torch.tensor([1.0, 0, 2, 0.5, 1]),
    entries=torch.arange(15.0).view(5, 3),
    flat=torch.arange(15.0),
)


@pytest.mark.parametrize('weight', WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize('one_hot', [False, True])
@pytest.mark.parametrize(
    'reduction',
    [
        dict(),
        dict(avg_factor=3.0),
        dict(reduction_override='sum'),
        dict(reduction_override='none'),
    ],
    ids=str,
)
def test_weights_and_reductions_are_mmdets(reduction, one_hot, weight):
    stock = FocalLoss(loss_weight=0.7, alpha=0.3, gamma=1.0, reduction='mean')
    target = torch.eye(4, dtype=torch.long)[LABELS, :3]
    arguments = rows(torch.float32), target if one_hot else LABELS, weight
    assert torch.equal(
        TwiceDifferentiableFocalLoss(stock)(*arguments, **reduction),
        stock(*arguments, **reduction),
    )


def test_probabilities_stay_probabilities():
    p = rows().sigmoid()
    stock = FocalLoss(activated=True)
    got = TwiceDifferentiableFocalLoss(stock)(p, LABELS)
    assert torch.equal(got, stock(p, LABELS))
    assert not torch.equal(got, exact()(p, LABELS))


def test_every_focal_loss_is_replaced_and_no_name_changes():
    class Own(FocalLoss):
        """What a user's class computes is not known."""

    model = nn.ModuleDict(
        dict(
            first=FocalLoss(gamma=3.0),
            other=nn.Sequential(nn.Linear(2, 2), FocalLoss()),
            own=Own(),
        )
    )
    names = [name for name, _ in model.named_modules()]
    own = model['own']
    assert replace_focal_loss(model) == 2
    assert replace_focal_loss(model) == 0
    assert type(model['first']) is TwiceDifferentiableFocalLoss
    assert type(model['other'][1]) is TwiceDifferentiableFocalLoss
    assert model['first'].gamma == 3.0
    assert model['own'] is own
    assert names == [name for name, _ in model.named_modules()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_cuda_it_is_mmdets_and_differentiable_twice():
    weight = WEIGHTS['rows'].cuda()
    stock, labels = FocalLoss(loss_weight=0.7), LABELS.cuda()
    results = []
    for loss in (stock, TwiceDifferentiableFocalLoss(stock)):
        logits = rows(torch.float32).cuda().requires_grad_()
        value = loss(logits, labels, weight, avg_factor=2.0)
        (first,) = torch.autograd.grad(value, logits, create_graph=True)
        results.append((value, first, logits))
    (value, first, _), (exact_value, exact_first, logits) = results
    torch.testing.assert_close(exact_value, value)
    torch.testing.assert_close(exact_first, first)
    (second,) = torch.autograd.grad(exact_first.sum(), logits)
    on_cpu = rows(torch.float64).requires_grad_()
    want = stock(on_cpu, LABELS, weight.cpu().double(), avg_factor=2.0)
    (want,) = torch.autograd.grad(want, on_cpu, create_graph=True)
    (want,) = torch.autograd.grad(want.sum(), on_cpu)
    torch.testing.assert_close(second.cpu(), want.float())
