"""The SD term joins a model's losses through hooks alone."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from epsd_mm.distillation import CSKDLoss, Pairs
from epsd_mm.engine.self_distillation import SelfDistillation
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
    tiny_faster_rcnn,
    to_float64,
    trainable,
)
from tests.helpers.oracles import classifier_loss, relative_error, total
from tests.helpers.taps import attached

LABELS = (0, 1, 2, 3, 0, 1, 2, 3)
BUILDS = pytest.mark.parametrize('build', [tiny_classifier, tiny_faster_rcnn])


def batch_for(build):
    if build is tiny_classifier:
        return classification_batch(LABELS)
    return detection_batch(4)


def distilling(build, **options):
    model = build()
    return model, attached(model, CSKDLoss(**options))


def losses_of(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return model(**data, mode='loss')


def untouched(model):
    """No tap and no hook is left."""
    return not any(
        'loss_and_target' in vars(part)
        or part._forward_hooks
        or part._forward_pre_hooks
        for part in model.modules()
    )


@BUILDS
def test_task_losses_are_those_of_the_first_half(build):
    batch = batch_for(build)
    model, _ = distilling(build)
    # Registered later, so it runs right before the main pass itself.
    states = []
    model.register_forward_pre_hook(
        lambda *unused: states.append(torch.get_rng_state())
    )
    got = losses_of(model, batch)
    plain = build()
    torch.set_rng_state(states[-1])
    want = losses_of(plain, Pairs().split(batch)[0])
    if build is tiny_classifier:
        want = dict(loss_cls=want.pop('loss'), **want)
    assert list(got) == list(want) + ['loss_sd']
    for name, value in want.items():
        values = value if isinstance(value, list) else [value]
        others = got[name] if isinstance(value, list) else [got[name]]
        assert all(torch.equal(a, b) for a, b in zip(values, others))


def test_training_minimises_cross_entropy_and_cs_kd():
    batch = classification_batch(LABELS)
    model = to_float64(tiny_classifier())
    twin = copy.deepcopy(model)
    attached(model, CSKDLoss(4.0, loss_weight=2.0))
    loss = total(losses_of(model, batch))
    loss.backward()
    params = trainable(twin)
    want = classifier_loss(twin, params, *Pairs().split(batch), sd=2.0)
    assert float(loss.detach()) == pytest.approx(float(want.detach()))
    gradient = torch.autograd.grad(want, list(params.values()))
    got = {n: p.grad for n, p in trainable(model).items()}
    assert relative_error(got, dict(zip(params, gradient))) < 1e-10


def test_the_term_of_a_detector_is_alive_and_trains_the_classifier_only():
    model, _ = distilling(tiny_faster_rcnn)
    losses = losses_of(model, detection_batch(4, labels=(0, 1, 2)))
    assert float(losses['loss_sd'].detach()) > 0
    losses['loss_sd'].backward()
    head = model.roi_head.bbox_head
    assert head.fc_cls.weight.grad.any()
    assert head.fc_reg.weight.grad is None
    assert model.rpn_head.rpn_conv.weight.grad is None


def test_a_training_step_of_mmengine():
    model, _ = distilling(tiny_classifier)
    before = model.backbone.conv1.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    log = model.train_step(
        classification_batch(LABELS), OptimWrapper(optimizer)
    )
    assert list(log) == ['loss', 'loss_cls', 'loss_sd']
    assert float(log['loss']) == pytest.approx(
        float(log['loss_cls'] + log['loss_sd'])
    )
    assert not torch.equal(model.backbone.conv1.weight, before)


def test_the_partner_pass_comes_first_and_has_no_graph():
    model, _ = distilling(tiny_classifier)
    passes = []
    model.backbone.register_forward_hook(
        lambda m, args, out: passes.append(
            (len(args[0]), torch.is_grad_enabled(), m.training)
        )
    )
    losses_of(model, classification_batch(LABELS))
    assert passes == [(4, False, True), (4, True, True)]


@BUILDS
def test_detaching_leaves_the_model_as_it_was(build):
    batch = batch_for(build)
    model, tap = distilling(build)
    assert not untouched(model)
    names = list(model.state_dict())
    losses_of(model, batch)
    tap.detach()
    assert untouched(model)
    assert list(model.state_dict()) == names
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    assert len(data['inputs']) == len(batch['inputs'])
    assert 'loss_sd' not in model(**data, mode='loss')


@BUILDS
def test_evaluation_is_left_alone(build):
    batch = batch_for(build)
    outputs = []
    for model in (distilling(build)[0].eval(), build().eval()):
        data = model.data_preprocessor(copy.deepcopy(batch), False)
        outputs.append(flatten(model(data['inputs'], data['data_samples'])))
        assert len(model.val_step(copy.deepcopy(batch))) == len(data['inputs'])
    assert len(outputs[0]) == len(outputs[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*outputs))


def flatten(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in flatten(part)]


@BUILDS
def test_taps_are_removed_when_the_forward_pass_raises(build, monkeypatch):
    model, _ = distilling(build)
    batch = batch_for(build)
    head = model.head if build is tiny_classifier else model.roi_head
    calls = []
    loss = head.loss

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) in (1, 3):
            raise KeyError('broken')
        return loss(*args, **kwargs)

    monkeypatch.setattr(head, 'loss', failing)
    for expected in (1, 3):  # in the partners' pass, in the main pass
        with pytest.raises(KeyError, match='broken'):
            losses_of(model, batch)
        assert len(calls) == expected
        part = model.head if build is tiny_classifier else head.bbox_head
        assert not part._forward_hooks
        assert 'loss_and_target' not in vars(part)
    assert 'loss_sd' in losses_of(model, batch)
    assert len(calls) == 5


def test_a_failed_partner_pass_leaves_no_old_partners(monkeypatch):
    model, _ = distilling(tiny_classifier)
    batch = classification_batch(LABELS)
    losses_of(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    model(**data, mode='loss')
    for _ in range(2):
        with pytest.raises(RuntimeError, match='no training batch'):
            model(**data, mode='loss')


def test_a_forward_pass_without_a_batch_is_refused():
    model, _ = distilling(tiny_classifier)
    batch = classification_batch(LABELS[:4])
    data = tiny_classifier().data_preprocessor(batch, True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match='CSKDLoss needs a partner'):
            model(**data, mode='loss')


def test_an_odd_batch_is_refused():
    model, _ = distilling(tiny_classifier)
    with pytest.raises(ValueError, match='3 samples.*ClassPairBatchSampler'):
        model.data_preprocessor(classification_batch((0, 1, 0)), True)


def test_every_way_to_call_a_model():
    model, _ = distilling(tiny_classifier)
    batch = classification_batch(LABELS)
    values = []
    for call in (
        lambda inputs, samples: model(inputs, samples, 'loss'),
        lambda inputs, samples: model(inputs, samples, mode='loss'),
        lambda inputs, samples: model(
            inputs, data_samples=samples, mode='loss'
        ),
        lambda inputs, samples: model(
            inputs=inputs, data_samples=samples, mode='loss'
        ),
    ):
        data = model.data_preprocessor(
            data=copy.deepcopy(batch), training=True
        )
        values.append(call(data['inputs'], data['data_samples'])['loss_sd'])
    assert all(torch.equal(value, values[0]) for value in values)


def test_batches_that_come_as_one_tensor():
    model, _ = distilling(tiny_classifier)
    batch = classification_batch(LABELS)
    want = losses_of(model, batch)['loss_sd']
    batch['inputs'] = torch.stack(batch['inputs'])
    assert torch.equal(losses_of(model, batch)['loss_sd'], want)


def test_a_model_that_cannot_be_seen_is_refused_at_once():
    model = tiny_classifier(type='LinearRegressionHead')
    with pytest.raises(TypeError, match='LinearRegressionHead'):
        SelfDistillation(model, CSKDLoss())
    assert untouched(model)
