"""What a model predicts for its images or objects, seen from outside."""

import copy
from importlib.resources import files

import pytest
import torch
from mmengine.config import Config

from epsd_mm.distillation.observers import (
    ClassifierObserver,
    TwoStageObserver,
    build_observer,
)
from tests.helpers.models import (
    build,
    classification_batch,
    detection_batch,
    tiny_classifier,
    tiny_faster_rcnn,
    trainable,
)
from tests.helpers.oracles import call, observed


def watch(model, batch):
    """Observation and losses of one forward pass."""
    observer = build_observer(model)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    observer.start()
    try:
        losses = model(**data, mode='loss')
    finally:
        observer.stop()
    return observer.observe(data['data_samples']), losses


def test_images_of_a_classifier():
    model = tiny_classifier()
    labels = (3, 1, 1, 0, 2)
    batch = classification_batch(labels)
    observation, losses = watch(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    want = call(model, trainable(model), data['inputs'], mode='tensor')
    assert torch.equal(observation.logits, want)
    assert observation.labels.tolist() == list(labels)
    assert observation.images.tolist() == [0, 1, 2, 3, 4]
    assert observation.weights.tolist() == pytest.approx([1 / 5] * 5)
    assert len(observation) == len(observation.keys) == 5


def test_weights_are_the_share_in_the_classifiers_own_loss():
    model = tiny_classifier()
    observation, losses = watch(model, classification_batch())
    chosen = observation.logits.log_softmax(dim=1)[
        range(4), observation.labels
    ]
    weighted = -(observation.weights * chosen).sum()
    assert torch.allclose(weighted, losses['loss'])


def test_predictions_of_a_classifier_can_be_differentiated():
    model = tiny_classifier()
    observation, _ = watch(model, classification_batch())
    observation.logits.square().sum().backward()
    assert model.backbone.conv1.weight.grad.any()
    assert not observation.detach().logits.requires_grad


def seen_twice(model, batch):
    """By the observer, and by plain loops over the same proposals."""
    torch.manual_seed(5)
    observation, _ = watch(model, batch)
    torch.manual_seed(5)
    _, objects, sampled = observed(model, trainable(model), batch)
    return observation, objects, sampled


def test_objects_of_a_detector():
    model = tiny_faster_rcnn(strong_heads=True)
    batch = detection_batch(4)
    observation, objects, sampled = seen_twice(model, batch)
    assert sampled == 4 * 32
    assert 4 <= len(objects) == len(observation)
    for row, key in enumerate(sorted(objects)):
        logits, label, positives = objects[key]
        assert torch.allclose(observation.logits[row], logits, atol=1e-6)
        assert observation.labels[row] == label
        assert observation.images[row] == key[0]
        share = float(observation.weights[row])
        assert share == pytest.approx(positives / sampled)
    assert observation.logits.shape[1] == 4 + 1


def test_weights_of_objects_sum_to_the_share_of_the_positives():
    model = tiny_faster_rcnn()
    observation, objects, sampled = seen_twice(model, detection_batch(3))
    positives = sum(count for _, _, count in objects.values())
    total = float(observation.weights.sum())
    assert total == pytest.approx(positives / sampled)
    assert 0 < total < 1


def test_labels_are_those_of_the_annotated_objects():
    batch = detection_batch(3, seed=4)
    observation, _ = watch(tiny_faster_rcnn(), batch)
    for image, sample in enumerate(batch['data_samples']):
        seen = observation.labels[observation.images == image].tolist()
        given = sample.gt_instances.labels.tolist()
        assert 0 < len(seen) <= len(given)
        assert set(seen) <= set(given)


def emptied(batch, *images):
    for image in images:
        sample = batch['data_samples'][image]
        sample.gt_instances = sample.gt_instances[:0]
    return batch


def test_an_image_without_objects():
    model = tiny_faster_rcnn()
    batch = emptied(detection_batch(3), 1)
    observation, objects, _ = seen_twice(model, batch)
    assert len(observation) == len(objects) > 0
    assert set(observation.images.tolist()) == {0, 2}


def test_no_objects_at_all():
    model = tiny_faster_rcnn()
    observation, losses = watch(model, emptied(detection_batch(2), 0, 1))
    assert observation.logits.shape == (0, 5)
    assert len(observation.labels) == len(observation.weights) == 0
    observation.logits.sum().backward()


def test_predictions_of_a_detector_can_be_differentiated():
    model = tiny_faster_rcnn()
    observation, _ = watch(model, detection_batch())
    observation.logits.square().sum().backward()
    head = model.roi_head.bbox_head
    assert head.fc_cls.weight.grad.any()
    assert head.fc_reg.weight.grad is None


def test_half_precision_predictions_are_widened():
    model = tiny_classifier()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        observation, _ = watch(model, classification_batch())
    assert observation.logits.dtype == torch.float32
    assert observation.weights.dtype == torch.float32


@pytest.mark.parametrize('model', [tiny_classifier, tiny_faster_rcnn])
def test_an_observer_leaves_the_model_as_it_was(model):
    model = model()
    parts = dict(model.named_modules())
    before = {name: set(vars(part)) for name, part in parts.items()}
    hooks = {name: len(p._forward_hooks) for name, p in parts.items()}
    observer = build_observer(model)
    for _ in range(2):
        observer.start()
        observer.stop()
    for name, part in parts.items():
        assert set(vars(part)) == before[name]
        assert len(part._forward_hooks) == hooks[name]


def test_a_pass_that_never_reached_the_head_is_an_error():
    observer = TwoStageObserver(tiny_faster_rcnn())
    observer.start(), observer.stop()
    with pytest.raises(TypeError, match='without bbox_head.loss_and_target'):
        observer.observe([])
    observer = ClassifierObserver(tiny_classifier())
    observer.start(), observer.stop()
    with pytest.raises(TypeError, match='LinearClsHead returned NoneType'):
        observer.observe([])


def test_mixed_labels_are_refused():
    model = tiny_classifier()
    batch = classification_batch()
    for sample in batch['data_samples']:
        sample.set_gt_score(torch.full((4,), 0.25))
    with pytest.raises(TypeError, match='gt_score.*remove augments'):
        watch(model, batch)


def detector_of(name):
    """The config of one of mmdet's own detectors, without its weights."""
    base = files('mmdet') / f'.mim/configs/_base_/models/{name}.py'
    cfg = Config.fromfile(str(base)).model
    cfg.backbone.update(depth=18, base_channels=4, init_cfg=None)
    cfg.neck.update(in_channels=[4, 8, 16, 32])
    return cfg


def cascade_rcnn():
    cfg = detector_of('cascade-rcnn_r50_fpn')
    for head in cfg.roi_head.bbox_head:
        head.fc_out_channels = 8
    return build(cfg, 'mmdet')


def retinanet():
    return build(detector_of('retinanet_r50_fpn'), 'mmdet')


def sigmoid_faster_rcnn():
    model = tiny_faster_rcnn()
    model.roi_head.bbox_head.loss_cls.use_sigmoid = True
    return model


@pytest.mark.parametrize(
    'build_model, named',
    [
        (
            lambda: tiny_classifier(
                type='ArcFaceClsHead',
                loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            ),
            'ImageClassifier with head ArcFaceClsHead',
        ),
        (
            lambda: tiny_classifier(
                type='MultiLabelLinearClsHead',
                loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
            ),
            'ImageClassifier with head MultiLabelLinearClsHead',
        ),
        (cascade_rcnn, 'CascadeRCNN with head CascadeRoIHead'),
        (retinanet, 'RetinaNet with head RetinaHead'),
        (sigmoid_faster_rcnn, 'FasterRCNN with head StandardRoIHead'),
        (torch.nn.Sequential, 'Sequential with head NoneType'),
    ],
    ids=['arcface', 'multilabel', 'cascade', 'retina', 'sigmoid', 'plain'],
)
def test_heads_that_cannot_be_seen_are_refused_by_name(build_model, named):
    with pytest.raises(TypeError, match=named + '.*sd_loss=None'):
        build_observer(build_model())
