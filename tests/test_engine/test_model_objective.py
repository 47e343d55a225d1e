"""The walk back over real models, against the unrolled graph."""

import copy
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from epsd_mm.distillation import CSKDLoss, Pairs
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.families.twice_differentiable import replace_roi_align
from epsd_mm.pruning import (
    SNIP,
    Masks,
    ProsPr,
    gradients,
    meta_gradient,
    prunable_parameters,
    score,
)
from epsd_mm.pruning.second_order import SecondOrderError
from epsd_mm.pruning.zero_layers import find_zero_layers
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
    tiny_faster_rcnn,
    to_float64,
    trainable,
)
from tests.helpers.oracles import (
    call,
    classifier_loss,
    detector_loss,
    flat,
    relative_error,
    total,
    unrolled_gradient,
)

CASES = [(steps, mu) for steps in (1, 3, 5) for mu in (0.0, 0.9)]


def distilling(model, **weights):
    distillation = SelfDistillation(model, CSKDLoss(temperature=4.0))
    return ModelObjective(model, distillation, **weights)


def seeded(batches):
    """Each step starts from random numbers of its own."""
    for t, batch in enumerate(batches):
        torch.manual_seed(t)
        yield [copy.deepcopy(batch)]


def reference(loss, model, batches, pairs, lr, momentum=0.0):
    """The unrolled gradient of the same steps."""

    def at_step(t, batch):
        parts = Pairs().split(batch) if pairs else (batch,)

        def evaluate(theta):
            torch.manual_seed(t)
            return loss(model, theta, *copy.deepcopy(parts))

        return evaluate

    losses = [at_step(t, batch) for t, batch in enumerate(batches)]
    return unrolled_gradient(losses, trainable(model), lr, momentum)


def classifier_batches(steps, pairs):
    labels = (0, 1, 2, 3, 0, 1, 2, 3) if pairs else (0, 1, 2, 3)
    return [classification_batch(labels, seed=t) for t in range(steps + 1)]


def detector_batches(steps, pairs):
    return [
        detection_batch(
            4 if pairs else 2, seed=t, labels=(0, 1, 2), dtype=torch.float64
        )
        for t in range(steps + 1)
    ]


@pytest.mark.parametrize('pairs', [False, True], ids=['plain', 'cs_kd'])
@pytest.mark.parametrize('steps, momentum', CASES)
def test_walk_is_the_unrolled_graph_of_a_classifier(steps, momentum, pairs):
    model = to_float64(tiny_classifier())
    batches = classifier_batches(steps, pairs)
    want = reference(
        classifier_loss, copy.deepcopy(model), batches, pairs, 0.1, momentum
    )
    objective = distilling(model) if pairs else ModelObjective(model)
    got = meta_gradient(
        objective,
        trainable(model),
        seeded(batches),
        steps=steps,
        lr=0.1,
        momentum=momentum,
    )
    assert relative_error(got.gradient, want) < 1e-9


@pytest.mark.parametrize('pairs', [False, True], ids=['plain', 'cs_kd'])
@pytest.mark.parametrize('steps, momentum', CASES)
def test_walk_is_the_unrolled_graph_of_a_detector(steps, momentum, pairs):
    model = to_float64(scoring_copy(tiny_faster_rcnn(strong_heads=True)))
    batches = detector_batches(steps, pairs)
    want = reference(
        detector_loss, copy.deepcopy(model), batches, pairs, 2e-3, momentum
    )
    objective = distilling(model) if pairs else ModelObjective(model)
    got = meta_gradient(
        objective,
        trainable(model),
        seeded(batches),
        steps=steps,
        lr=2e-3,
        momentum=momentum,
    )
    if pairs:
        assert all(terms['sd'] > 0 for terms in objective.terms)
    assert relative_error(got.gradient, want) < 1e-9


def test_second_order_terms_matter_in_these_tests():
    model = to_float64(scoring_copy(tiny_faster_rcnn(strong_heads=True)))
    results = [
        meta_gradient(
            ModelObjective(model),
            trainable(model),
            seeded(detector_batches(3, False)),
            steps=3,
            lr=2e-3,
            first_order=first_order,
        ).gradient
        for first_order in (True, False)
    ]
    assert relative_error(*results) > 0.1


def detectors_with_either_roi_align():
    stock = to_float64(tiny_faster_rcnn(strong_heads=True))
    exact = copy.deepcopy(stock)
    assert replace_roi_align(exact) == 4
    return stock, exact


def one_step_scores(model, batches):
    params = trainable(model)
    gradient = meta_gradient(
        ModelObjective(model), params, seeded(batches), steps=1, lr=0.01
    ).gradient
    return {n: (p * gradient[n]).abs() for n, p in params.items()}


def test_stock_roi_align_drops_terms_and_ours_does_not(monkeypatch):
    stock, exact = detectors_with_either_roi_align()
    batches = detector_batches(1, False)
    unrolled = reference(detector_loss, exact, batches, False, 0.01)
    params = trainable(exact)
    want = {n: (p * unrolled[n]).abs() for n, p in params.items()}
    assert relative_error(one_step_scores(exact, batches), want) < 1e-9
    monkeypatch.setattr(gradients, 'second_order_check', nullcontext)
    assert relative_error(one_step_scores(stock, batches), want) > 0.1


def test_stock_roi_align_is_refused_by_name():
    stock, _ = detectors_with_either_roi_align()
    with pytest.raises(SecondOrderError, match='RoIAlignFunction'):
        one_step_scores(stock, detector_batches(1, False))


@pytest.mark.parametrize('build', [tiny_classifier, tiny_faster_rcnn])
def test_value_is_the_models_own_loss(build):
    model = build()
    batch = (
        classification_batch()
        if build is tiny_classifier
        else detection_batch()
    )
    torch.manual_seed(0)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    want = float(total(call(model, trainable(model), **data, mode='loss')))
    torch.manual_seed(0)
    loss, step = ModelObjective(model).record(trainable(model), batch)
    assert float(loss) == pytest.approx(want, rel=1e-6)
    assert step.loss == float(loss)


@pytest.mark.parametrize('task, sd', [(1, 1), (1, 0), (0, 1), (1, 10)])
def test_weights_of_the_two_terms(task, sd):
    model = to_float64(tiny_classifier())
    batch = classifier_batches(0, True)[0]
    plain = to_float64(tiny_classifier())
    main, partners = Pairs().split(batch)
    params = trainable(plain)
    cross_entropy = float(classifier_loss(plain, params, main))
    both = float(classifier_loss(plain, params, main, partners))
    want = task * cross_entropy + sd * (both - cross_entropy)
    objective = distilling(model, task=task, sd=sd)
    loss, _ = objective.record(trainable(model), batch)
    assert float(loss) == pytest.approx(want, rel=1e-9)
    (terms,) = objective.terms
    assert terms['task'] == pytest.approx(cross_entropy, rel=1e-9)
    assert ('sd' in terms) == bool(sd)


def test_without_the_sd_term_the_batches_stay_those_of_epsd():
    model = to_float64(tiny_classifier())
    batch = classifier_batches(0, True)[0]
    passes = []
    model.backbone.register_forward_hook(lambda *unused: passes.append(1))
    loss, _ = distilling(model, sd=0).record(trainable(model), batch)
    assert len(passes) == 1
    main, _ = Pairs().split(batch)
    want, _ = ModelObjective(to_float64(tiny_classifier())).record(
        trainable(model), main
    )
    assert float(loss) == float(want)


def test_a_replay_looks_at_no_partner():
    """So a product with the Hessian costs nothing of theirs."""
    model, looked = to_float64(tiny_classifier()), []
    model.backbone.register_forward_hook(
        lambda module, inputs, outputs: looked.append(len(inputs[0]))
    )
    objective, params = distilling(model), trainable(model)
    batch = classifier_batches(0, True)[0]
    half = len(batch['inputs']) // 2
    _, step = objective.record(params, batch)
    assert looked == [half, half]
    objective(params, step)
    assert looked == [half] * 3


def test_replay_is_exact_and_draws_no_random_numbers():
    model = tiny_faster_rcnn()
    objective = distilling(model)
    params = trainable(model)
    loss, step = objective.record(params, detection_batch(4))
    torch.rand(7)
    state = torch.get_rng_state()
    assert float(objective(params, step)) == float(loss)
    assert float(objective(params, step)) == float(loss)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_teacher_is_a_constant_in_a_replay():
    model = to_float64(tiny_classifier())
    objective = distilling(model, task=0)
    params = trainable(model)
    _, step = objective.record(params, classifier_batches(0, True)[0])
    rows = step.teacher.rows.clone()
    moved = {n: p.detach() + 0.1 for n, p in params.items()}
    objective(moved, step)
    assert not rows.requires_grad
    assert torch.equal(step.teacher.rows, rows)


def test_models_that_write_into_samples_do_not_change_the_step():
    model = tiny_faster_rcnn()
    forward = model.forward

    def writing(inputs, data_samples, mode):
        losses = forward(inputs, data_samples, mode)
        for sample in data_samples:
            sample.gt_instances.labels.zero_()
            sample.gt_instances = sample.gt_instances[:1]
        return losses

    model.forward = writing
    objective = ModelObjective(model)
    batch = detection_batch(labels=(1, 2, 3))
    loss, step = objective.record(trainable(model), batch)
    assert float(objective(trainable(model), step)) == float(loss)
    for sample in step.batch['data_samples']:
        assert sample.gt_instances.labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize('build', [tiny_classifier, tiny_faster_rcnn])
def test_scoring_leaves_no_trace(build):
    model = scoring_copy(build())
    detects = build is tiny_faster_rcnn
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    weights = copy.deepcopy(model.state_dict())
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def batches(draw):
        for t in range(3):
            random.random(), np.random.rand()
            yield (
                detection_batch(4, seed=t)
                if detects
                else classifier_batches(0, True)[0]
            )

    score(
        distilling(model),
        ProsPr(steps=2, lr=1e-3),
        trainable(model),
        Masks.ones_like(prunable_parameters(model)),
        batches,
    )
    assert random.getstate() == states[0]
    assert all(
        np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1])
    )
    assert torch.equal(torch.get_rng_state(), states[2])
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[n], weights[n]) for n in weights)
    assert any('running_mean' in name for name in weights)
    assert all((p.grad == 1).all() for p in model.parameters())


def test_sd_term_alone_does_not_reach_the_proposals_of_a_detector():
    model = tiny_faster_rcnn()
    masks = Masks.ones_like(prunable_parameters(model))
    with pytest.raises(ValueError, match='does not reach') as error:
        score(
            distilling(model, task=0),
            SNIP(),
            trainable(model),
            masks,
            lambda draw: [detection_batch(4)],
        )
    named = str(error.value).partition('They cannot')[0]
    assert 'rpn_head.rpn_conv.weight' in named
    assert 'roi_head.bbox_head.fc_reg.weight' in named
    assert 'fc_cls' not in named and 'backbone.conv1' not in named
    assert 'score_weights' in str(error.value)
    scored = score(
        distilling(tiny_faster_rcnn()),
        SNIP(),
        trainable(model),
        masks,
        lambda draw: [detection_batch(4)],
    )
    assert scored.scores.keys() == masks.keys()


def test_branches_that_start_cut_off_are_found():
    """What zero_init_residual=True does to a residual network."""
    model = tiny_classifier()
    for block in [*model.backbone.layer1, *model.backbone.layer2]:
        torch.nn.init.zeros_(block.norm2.weight)
    masks = Masks.ones_like(prunable_parameters(model))
    result = score(
        ModelObjective(model),
        SNIP(),
        trainable(model),
        masks,
        lambda draw: [classification_batch()],
    )
    named = find_zero_layers(result.scores, masks)
    assert len(named) == 8 and 'backbone.layer2.1.conv2.weight' in named
    assert not any('downsample' in name for name in named)


def test_frozen_layers_are_left_where_they_are():
    model = to_float64(tiny_classifier())
    model.backbone.conv1.weight.requires_grad_(False)
    batches = classifier_batches(2, False)
    want = reference(
        classifier_loss, copy.deepcopy(model), batches, False, 0.1
    )
    got = meta_gradient(
        ModelObjective(model),
        trainable(model),
        seeded(batches),
        steps=2,
        lr=0.1,
    ).gradient
    assert 'backbone.conv1.weight' not in got
    assert flat(got).norm() > 0
    assert relative_error(got, want) < 1e-9


def test_given_masks_hold_whatever_the_weights_become():
    """Inner steps move every weight; what is gone has no part in them."""
    model = tiny_classifier()
    params = {n: p.detach() for n, p in trainable(model).items()}
    name = 'backbone.layer1.0.conv1.weight'
    mask = torch.rand(params[name].shape) < 0.3
    objective = ModelObjective(model, given=Masks({name: mask}))
    loss, step = objective.record(params, classification_batch())
    sparse = {**params, name: params[name] * mask}
    assert objective(sparse, step) == loss
    plain = ModelObjective(model)
    assert plain(sparse, step) == loss
    assert plain(params, step) != loss
    _, gradient, _ = gradients.record_gradient(
        objective, params, [classification_batch()]
    )
    assert not gradient[name][~mask].any()
    assert gradient[name][mask].any()
