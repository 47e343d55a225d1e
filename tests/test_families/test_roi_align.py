"""RoIAlign: mmcv's values, and a second derivative."""

import itertools

import pytest
import torch
from mmcv.ops import RoIAlign
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from epsd_mm.families.twice_differentiable import (
    TwiceDifferentiableRoIAlign,
    replace_roi_align,
)

SETTINGS = list(itertools.product([True, False], [0, 2]))

# Two inside, one partly and one wholly outside, one without extent.
ROIS = [
    [0, 1.3, 0.7, 5.9, 6.1],
    [1, 0.2, 2.2, 3.1, 3.4],
    [0, -4.0, -3.0, 2.5, 9.5],
    [1, 40.0, 40.0, 44.0, 45.0],
    [0, 2.0, 2.0, 2.0, 2.0],
]


def inputs(dtype=torch.float64, channels=2):
    features = torch.randn(2, channels, 7, 6, dtype=dtype)
    return features.requires_grad_(), torch.tensor(ROIS, dtype=dtype)


def layer(aligned, sampling_ratio, scale=1.0, size=(3, 2)):
    return RoIAlign(size, scale, sampling_ratio, aligned=aligned)


@pytest.mark.parametrize('aligned, sampling_ratio', SETTINGS)
def test_second_derivatives(aligned, sampling_ratio):
    exact = TwiceDifferentiableRoIAlign(layer(aligned, sampling_ratio))
    features, rois = inputs(channels=1)

    def pooled(features):
        return exact(features, rois)

    assert gradcheck(pooled, [features])
    # Linear: squared, it has a second derivative worth the name.
    assert gradgradcheck(lambda x: pooled(x) ** 2, [features])
    assert gradgradcheck(pooled, [features])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('scale', [1.0, 0.5])
@pytest.mark.parametrize('aligned, sampling_ratio', SETTINGS)
def test_values_and_first_derivatives_are_mmcvs(
    aligned, sampling_ratio, scale, dtype
):
    stock = layer(aligned, sampling_ratio, scale)
    exact = TwiceDifferentiableRoIAlign(stock)
    features, rois = inputs(dtype)
    weights = None
    results = []
    for operator in (stock, exact):
        pooled = operator(features, rois)
        if weights is None:
            weights = torch.randn_like(pooled)
        (gradient,) = torch.autograd.grad((pooled * weights).sum(), features)
        results.append((pooled, gradient))
    (stock_pooled, stock_gradient), (pooled, gradient) = results
    assert pooled.shape == (len(ROIS), 2, 3, 2)
    assert torch.equal(pooled, stock_pooled)
    assert torch.equal(gradient, stock_gradient)
    assert pooled[0].abs().sum() > 0 and gradient.abs().sum() > 0


def test_mmcvs_own_drops_the_second_derivative():
    """The reason for this operator; it may go when this fails."""
    stock = layer(True, 0)
    features, rois = inputs()
    products = []
    for operator in (stock, TwiceDifferentiableRoIAlign(stock)):
        loss = (operator(features, rois) ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
        (product,) = torch.autograd.grad(
            gradient.square().sum(), features, allow_unused=True
        )
        products.append(product)
    assert products[0] is None
    assert products[1].any()


def test_boxes_get_no_gradient():
    features, rois = inputs()
    rois.requires_grad_()
    exact = TwiceDifferentiableRoIAlign(layer(True, 0))
    exact(features, rois).sum().backward()
    assert rois.grad is None and features.grad is not None


def test_no_boxes():
    features, rois = inputs()
    exact = TwiceDifferentiableRoIAlign(layer(True, 0))
    pooled = exact(features, rois[:0])
    assert pooled.shape == (0, 2, 3, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert not gradient.any()


def test_gradients_that_are_not_contiguous():
    """Such as a reduction's, which expands a single number."""
    features, rois = inputs()
    stock = layer(True, 2)
    gradients = [
        torch.autograd.grad(
            operator(features.transpose(2, 3), rois).sum(dim=(0, 2)).sum(),
            features,
        )[0]
        for operator in (stock, TwiceDifferentiableRoIAlign(stock))
    ]
    assert torch.equal(*gradients)


def test_pooling_by_maximum_is_refused():
    stock = RoIAlign(3, 1.0, 0, pool_mode='max')
    with pytest.raises(ValueError, match="pool_mode='max'.*first_order=True"):
        TwiceDifferentiableRoIAlign(stock)
    # It stays in a model, where first-order scores may use it; the
    # second-order check refuses it otherwise.
    model = nn.Sequential(stock)
    assert replace_roi_align(model) == 0
    assert model[0] is stock


def test_every_layer_is_replaced_and_no_name_changes():
    model = nn.ModuleDict(
        dict(
            conv=nn.Conv2d(2, 2, 1),
            levels=nn.ModuleList([layer(True, 0, 1 / s) for s in (4, 8)]),
            single=layer(False, 2),
        )
    )
    names = list(model.state_dict()), [n for n, _ in model.named_modules()]
    assert replace_roi_align(model) == 3
    assert replace_roi_align(model) == 0
    kinds = {type(m) for m in model['levels']} | {type(model['single'])}
    assert kinds == {TwiceDifferentiableRoIAlign}
    assert model['levels'][1].output_size == (3, 2)
    assert names == (
        list(model.state_dict()),
        [n for n, _ in model.named_modules()],
    )


def test_settings_are_taken_over():
    features, rois = inputs()
    pooled = [
        TwiceDifferentiableRoIAlign(layer(*setting, scale))(features, rois)
        for setting in SETTINGS
        for scale in (1.0, 0.5)
    ]
    for one, other in itertools.combinations(pooled, 2):
        assert not torch.allclose(one, other)
