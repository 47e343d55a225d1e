"""Scoring is exact on every head that mmdet ships VOC configs for."""

import copy

import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, RoIPool
from mmdet.models.losses import FocalLoss
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.families.twice_differentiable import TwiceDifferentiableRoIAlign
from epsd_mm.families.twice_differentiable.focal_loss import (
    TwiceDifferentiableFocalLoss,
)
from epsd_mm.pruning import (
    SNIP,
    GraSP,
    Masks,
    ProsPr,
    check_hessian_product,
    meta_gradient,
    prunable_parameters,
    score,
)
from epsd_mm.pruning.second_order import SecondOrderError
from tests.helpers.detectors import DETECTORS, pictures
from tests.helpers.models import (
    tiny_cascade,
    tiny_faster_rcnn,
    tiny_retinanet,
    tiny_ssd,
    to_float64,
    trainable,
)
from tests.helpers.oracles import (
    by_plain_operators,
    call,
    relative_error,
    total,
    unrolled_gradient,
)
from tests.helpers.queries import tiny_dino
from tests.helpers.stock import stock

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a GPU'
)


def batch_of(build, seed=0, dtype=torch.float32):
    paths = ('0.jpg', '1.jpg')[: 1 + (build is not tiny_ssd)]
    return pictures(build, paths, seed=seed, labels=(0, 1, 2), dtype=dtype)


def seeded(batches):
    for t, batch in enumerate(batches):
        torch.manual_seed(t)
        yield [copy.deepcopy(batch)]


def walk(model, batches, steps, lr, **options):
    return meta_gradient(
        ModelObjective(model),
        trainable(model),
        seeded(batches),
        steps=steps,
        lr=lr,
        **options,
    ).gradient


def unrolled(model, batches, lr):
    model = by_plain_operators(copy.deepcopy(model))

    def at_step(t, batch):
        def loss(theta):
            torch.manual_seed(t)
            data = model.data_preprocessor(copy.deepcopy(batch), True)
            return total(call(model, theta, **data, mode='loss'))

        return loss

    losses = [at_step(t, batch) for t, batch in enumerate(batches)]
    return unrolled_gradient(losses, trainable(model), lr)


@pytest.mark.parametrize('steps', [1, 3])
@pytest.mark.parametrize('build', DETECTORS[1:])
def test_walk_is_the_unrolled_graph(build, steps, default_dtype):
    lr = 1e-3
    if build is tiny_dino:  # its noise is of that type
        default_dtype(torch.float64)
    model = to_float64(scoring_copy(build(strong_heads=True)))
    batches = [batch_of(build, t, torch.float64) for t in range(steps + 1)]
    want = unrolled(model, batches, lr)
    assert relative_error(walk(model, batches, steps, lr), want) < 1e-9
    # Otherwise there would be nothing to be exact about.
    plain = walk(model, batches, steps, lr, first_order=True)
    assert relative_error(plain, want) > 0.05


def one_step(model, build):
    batches = [batch_of(build, t) for t in range(2)]
    return walk(model, batches, steps=1, lr=1e-4)


@pytest.mark.parametrize('build', DETECTORS)
def test_no_false_alarm(build):
    model = build()
    gradient = one_step(scoring_copy(model), build)
    assert gradient.keys() == trainable(model).keys()


def test_every_extractor_of_a_cascade_is_exact():
    twin = scoring_copy(tiny_cascade())
    layers = [
        layer
        for extractor in twin.roi_head.bbox_roi_extractor
        for layer in extractor.roi_layers
    ]
    assert len(layers) == 3 * 4
    assert {type(layer) for layer in layers} == {TwiceDifferentiableRoIAlign}


def test_only_the_copy_gets_the_exact_focal_loss():
    model = tiny_retinanet()
    twin = scoring_copy(model)
    assert type(twin.bbox_head.loss_cls) is TwiceDifferentiableFocalLoss
    assert type(model.bbox_head.loss_cls) is FocalLoss
    batch = batch_of(tiny_retinanet)
    losses = [
        ModelObjective(m).record(trainable(m), batch)[1].loss
        for m in (twin, model)
    ]
    assert losses[0] == losses[1]


class Kernel(Function):
    """Focal loss as a compiled kernel has it, differentiable once."""

    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        p = (logits * (2 * targets - 1)).sigmoid()
        return -((1 - p) ** 2) * p.log()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        logits, targets = ctx.saved_tensors
        sign = 2 * targets - 1
        p = (logits * sign).sigmoid()
        slope = 2 * p * p.log() * (1 - p) ** 2 - (1 - p) ** 3
        return slope * sign * grad, None


class KernelFocalLoss(nn.Module):
    """A loss of a user's own."""

    def forward(self, pred, target, weight, avg_factor):
        rows = torch.eye(pred.shape[1] + 1)[target, :-1].to(pred)
        loss = Kernel.apply(pred, rows) * weight[:, None]
        return loss.sum() / avg_factor


def with_kernel_loss():
    model = tiny_retinanet()
    model.bbox_head.loss_cls = KernelFocalLoss()
    return model, tiny_retinanet


def with_deformable(layer):
    model = tiny_retinanet()
    conv = layer(8, 8, 3, padding=1)
    nn.init.normal_(conv.conv_offset.weight, std=0.1)
    model.neck.fpn_convs[0].conv = conv
    return model, tiny_retinanet


def with_roi_pool():
    model = tiny_faster_rcnn()
    extractor = model.roi_head.bbox_roi_extractor
    extractor.roi_layers = nn.ModuleList(
        RoIPool(3, 1 / stride) for stride in extractor.featmap_strides
    )
    return model, tiny_faster_rcnn


def with_roi_align_by_maximum():
    return tiny_faster_rcnn(pool_mode='max'), tiny_faster_rcnn


OWN = {
    'own loss': (with_kernel_loss, 'KernelBackward'),
    'RoIAlign by maximum': (with_roi_align_by_maximum, 'RoIAlignFunction'),
}


@pytest.mark.parametrize(
    'layer', [DeformConv2dPack, ModulatedDeformConv2dPack]
)
def test_deformable_convolutions_of_ones_own_are_exact(layer):
    model, build = with_deformable(layer)
    lr = 1e-3
    model = to_float64(scoring_copy(model))
    batches = [batch_of(build, t, torch.float64) for t in range(2)]
    want = unrolled(model, batches, lr)
    assert relative_error(walk(model, batches, 1, lr), want) < 1e-9


@pytest.mark.parametrize('built, operator', OWN.values(), ids=OWN)
def test_operators_of_ones_own_heads_are_named(built, operator):
    model, build = built()
    with pytest.raises(SecondOrderError, match=f'^{operator}'):
        one_step(scoring_copy(model), build)


def test_a_product_of_sigmoids_that_is_wrong_twice_is_named_or_replaced():
    """Its backward saves what its forward computed, and looks exact."""
    model = stock('RTMDet', with_objectness=True)
    twin = scoring_copy(model)
    model.data_preprocessor.batch_augments = None  # asks a runner
    with pytest.raises(SecondOrderError, match='^SigmoidGeometricMean'):
        one_step(model, tiny_retinanet)
    assert one_step(twin, tiny_retinanet)


@needs_gpu
def test_operators_that_only_a_gpu_has_are_named():
    model, build = with_roi_pool()
    with pytest.raises(SecondOrderError, match='^RoIPoolFunction'):
        one_step(scoring_copy(model.cuda()), build)
    stock = tiny_retinanet().cuda()
    with pytest.raises(SecondOrderError, match='^SigmoidFocalLoss'):
        one_step(stock, tiny_retinanet)
    assert one_step(scoring_copy(stock), tiny_retinanet)


@pytest.mark.parametrize('criterion', [ProsPr(steps=1, lr=1e-4), GraSP()])
def test_criteria_with_second_derivatives_do_not_score_them(criterion):
    with pytest.raises(SecondOrderError, match='KernelBackward'):
        scores_of_own_loss(criterion)


@pytest.mark.parametrize(
    'criterion', [SNIP(), ProsPr(steps=1, lr=1e-4, first_order=True)]
)
def test_criteria_without_second_derivatives_do(criterion):
    assert scores_of_own_loss(criterion)


def scores_of_own_loss(criterion):
    model, build = with_kernel_loss()
    model = scoring_copy(model)
    return score(
        ModelObjective(model),
        criterion,
        trainable(model),
        Masks.ones_like(prunable_parameters(model)),
        lambda draw: [batch_of(build, t) for t in range(2)],
    ).scores


@pytest.mark.parametrize('seed', [0, 9])
def test_differences_of_gradients_agree_on_a_dense_head(seed):
    model = to_float64(scoring_copy(tiny_retinanet(seed, strong_heads=True)))
    error = check_hessian_product(
        ModelObjective(model),
        trainable(model),
        [batch_of(tiny_retinanet, seed, torch.float64)],
    )
    assert error < 1e-4


def test_differences_of_gradients_agree_where_proposals_stand_still():
    """They are detached, and the only reason for which they would not."""
    model = to_float64(scoring_copy(tiny_faster_rcnn(strong_heads=True)))
    batch = batch_of(tiny_faster_rcnn, dtype=torch.float64)

    def check():
        objective = ModelObjective(model)
        return check_hessian_product(objective, trainable(model), [batch])

    with pytest.raises(SecondOrderError, match='is held constant'):
        check()
    propose, first = model.rpn_head.loss_and_predict, []

    def standing(*args, **kwargs):
        losses, proposals = propose(*args, **kwargs)
        first.append(proposals)
        return losses, copy.deepcopy(first[0])

    model.rpn_head.loss_and_predict = standing
    assert check() < 1e-6
