"""What a model predicts for its images or objects, seen from outside."""

import copy
import sys
from collections import Counter
from importlib.resources import files

import pytest
import torch
from mmdet.models.dense_heads import GroundingDINOHead
from mmdet.models.detectors import FasterRCNN
from mmdet.models.losses import CrossEntropyLoss, FocalLoss, VarifocalLoss
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from epsd_mm.families.observers import (
    AnchorObserver,
    ClassifierObserver,
    TwoStageObserver,
    build_observer,
)
from tests.helpers.detectors import DETECTORS, KIN, SIGMOID, lively, pictures
from tests.helpers.families import tiny_rtmdet, tiny_yolox
from tests.helpers.models import (
    build,
    classification_batch,
    detection_batch,
    tiny_atss,
    tiny_cascade,
    tiny_classifier,
    tiny_faster_rcnn,
    tiny_fcos,
    tiny_retinanet,
    tiny_ssd,
    trainable,
)
from tests.helpers.oracles import call, independent, log_yes, observed
from tests.helpers.queries import (
    tiny_deformable_detr,
    tiny_detr,
    tiny_dino,
    tiny_sparse,
)
from tests.helpers.stock import stock


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


@pytest.fixture(scope='module')
def detectors():
    """One of each kind."""
    return {build: lively(build) for build in DETECTORS + KIN}


def seen_twice(model, batch):
    """By the observer, and by plain loops over the same assignments."""
    torch.manual_seed(5)
    observation, losses = watch(model, batch)
    torch.manual_seed(5)
    return observation, losses, *observed(model, trainable(model), batch)[1:]


def agree(observation, objects, batch, weights_within=1e-6):
    """Row by row, stage after stage and image after image."""
    assert len(observation) == len(objects)
    numbers = [s.gt_instances.object_ids for s in batch['data_samples']]
    for row, (key, seen) in enumerate(sorted(objects.items())):
        stage, image, place = key
        want = seen.mean.detach()
        got = observation.logits[row].detach()
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-5)
        assert observation.labels[row] == seen.label
        assert observation.images[row] == image
        assert observation.stages[row] == stage
        weight = float(observation.weights[row])
        assert weight == pytest.approx(seen.weight, rel=weights_within)
        number = int(numbers[image][place])
        assert observation.keys[row] == (f'{image}.jpg', number, stage)


@pytest.mark.parametrize('build', DETECTORS + KIN)
def test_objects_of_a_detector(build, detectors):
    batch = pictures(build, seed=1)
    observation, _, objects, _ = seen_twice(detectors[build], batch)
    agree(observation, objects, batch)
    # Or means and sums would not be told from single rows.
    one_to_one = build in (*KIN, tiny_dino, tiny_sparse)
    several = any(len(seen.rows) > 1 for seen in objects.values())
    assert several is not one_to_one
    sigmoid = build in (*SIGMOID, *KIN) and build is not tiny_detr
    assert observation.use_sigmoid == sigmoid
    assert observation.logits.shape[1] == (4 if sigmoid else 5)
    # DETR's has weights of classes.
    plain = not sigmoid and build is not tiny_detr
    assert observation.cross_entropy == plain


def test_a_cascade_has_a_row_for_each_object_and_stage(detectors):
    observation, *_ = seen_twice(
        detectors[tiny_cascade], pictures(tiny_cascade)
    )
    of_objects = Counter(key[:2] for key in observation.keys)
    assert set(of_objects.values()) == {3}
    assert len(set(observation.keys)) == len(observation)


def classification_loss(model, objects, others):
    """What a detector's head sums up, row by row."""
    sigmoid = independent(model)
    kind = type(model).__name__

    def loss(logits, label, quality=1.0):
        if not sigmoid:
            return -torch.log(logits.softmax(dim=0))[label]
        p = logits.sigmoid()
        if kind in ('RTMDet', 'YOLOX'):
            target = torch.zeros_like(p)
            target[label:][:1] = quality
            entropy = target * log_yes(logits)
            entropy = -(entropy + (1 - target) * log_yes(-logits))
            if kind == 'RTMDet':
                entropy = entropy * (target - p) ** 2
            return entropy.sum()
        focal = -0.75 * p**2 * torch.log(1 - p)
        if label < len(p):
            own = p[label]
            focal[label] = -0.25 * (1 - own) ** 2 * torch.log(own)
        return focal.sum()

    total = 0.0
    for seen in objects.values():
        for row, *quality in zip(*filter(None, (seen.rows, seen.qualities))):
            value = loss(row.detach(), seen.label, *quality)
            total += seen.share * float(value)
    mined = kind == 'SingleStageDetector' and not sigmoid
    for image, (rows, share) in enumerate(others):
        losses = [float(loss(row().detach(), 4)) for row in rows]
        if mined:
            own = [s for key, s in objects.items() if key[1] == image]
            count = 3 * sum(len(seen.rows) for seen in own)
            losses = sorted(losses, reverse=True)[:count]
        total += share * sum(losses)
    return total


def loss_weight(model):
    head = getattr(model, 'roi_head', model).bbox_head
    if isinstance(head, torch.nn.ModuleList):
        head = head[0]
    loss = getattr(head, 'loss_cls', None)  # SSD has no module
    return 1.0 if loss is None else loss.loss_weight


def head_loss(losses, others):
    """What the model itself says: a tensor, one a level, or one a stage."""
    return sum(
        float(torch.as_tensor(value).sum())
        for name, values in losses.items()
        if name.endswith('loss_cls')
        and not any(part in name for part in others)
        for value in (values if isinstance(values, list) else [values])
    )


@pytest.mark.parametrize('build', DETECTORS + KIN)
def test_weights_are_the_share_in_the_detectors_own_loss(build, detectors):
    """Taken by the shares of its rows, the whole of it comes out.

    The first picture has no object, and counts with its background.
    """
    model = detectors[build]
    batch = emptied(pictures(build, ('0.jpg', '1.jpg')), 0)
    observation, losses, objects, others = seen_twice(model, batch)
    want = classification_loss(model, objects, others)
    want *= loss_weight(model)
    others = ['rpn', 'dn_', 'aux']
    # Its encoder is told no classes.
    others += ['enc_'] * (build is tiny_deformable_detr)
    assert head_loss(losses, others) == pytest.approx(want, rel=1e-4)
    agree(observation, objects, batch)
    assert len(observation) and not (observation.images == 0).any()


@pytest.mark.parametrize('border', [-1, 0])
def test_anchors_that_leave_the_image_are_counted_or_not(
    border, detectors, monkeypatch
):
    """And cells of the padding never are."""
    model = detectors[tiny_retinanet]
    monkeypatch.setitem(model.bbox_head.train_cfg, 'allowed_border', border)
    batch = pictures(tiny_retinanet, seed=1)
    batch['inputs'][1] = batch['inputs'][1][:, :40, :56]
    batch['data_samples'][1].set_metainfo(dict(img_shape=(40, 56)))
    observation, _, objects, _ = seen_twice(model, batch)
    agree(observation, objects, batch)
    assert set(observation.images.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    'head',
    [
        dict(center_sampling=True, center_sample_radius=0.6),
        dict(norm_on_bbox=True, centerness_on_reg=True),
    ],
    ids=['near the centre', 'distances in strides'],
)
def test_objects_of_fcos_with_its_tricks(head):
    model = tiny_fcos(strong_heads=True, **head)
    batch = pictures(tiny_fcos, seed=1)
    observation, _, objects, _ = seen_twice(model, batch)
    agree(observation, objects, batch)


def test_objects_of_fcos_that_lie_in_one_another_are_told_apart():
    """The class alone would not tell them, nor would the place."""
    model = tiny_fcos(strong_heads=True)
    batch = pictures(tiny_fcos, ('0.jpg',), labels=(2, 2, 2))
    boxes = batch['data_samples'][0].gt_instances.bboxes
    boxes.copy_(torch.tensor([[4, 4, 60, 60], [8, 8, 40, 40], [9, 9, 30, 30]]))
    observation, _, objects, _ = seen_twice(model, batch)
    agree(observation, objects, batch)
    assert len(observation) == 3


@pytest.mark.parametrize('build', [tiny_rtmdet, tiny_yolox])
def test_shares_are_those_of_all_processes(build, detectors, monkeypatch):
    """The head divides by a mean over them, which only it has asked for."""
    model = detectors[build]
    batch = pictures(build, seed=1)
    alone, _ = watch(model, batch)
    module = sys.modules[_owner(model.bbox_head).__module__]
    monkeypatch.setattr(module, 'reduce_mean', lambda x: 3 * x)
    among, _ = watch(model, batch)
    assert torch.allclose(3 * among.weights, alone.weights)


def _owner(head):
    """The class that sums up the losses of a head."""
    return next(c for c in type(head).__mro__ if 'loss_by_feat' in vars(c))


class Branches(FasterRCNN):
    """As TridentNet, whose backbone has no narrow form."""

    def extract_feat(self, inputs):
        return tuple(
            x.repeat(3, 1, 1, 1) for x in super().extract_feat(inputs)
        )

    def loss(self, inputs, samples):
        return super().loss(inputs, samples * 3)


def test_each_branch_of_a_trident_is_a_stage():
    model = lively(tiny_faster_rcnn)
    model.__class__ = Branches
    batch = pictures(tiny_faster_rcnn, ('0.jpg', '1.jpg'))
    observation, _ = watch(model, batch)
    of_branches = Counter(key[2] for key in observation.keys)
    assert set(of_branches) == {0, 1, 2}
    assert set(observation.images.tolist()) == {0, 1}
    assert len(set(observation.keys)) == len(observation)
    assert observation.stages.tolist() == [key[2] for key in observation.keys]


def test_objects_without_numbers_have_no_keys(detectors):
    model = detectors[tiny_retinanet]
    assert watch(model, detection_batch())[0].keys is None


def emptied(batch, *images):
    for image in images:
        sample = batch['data_samples'][image]
        sample.gt_instances = sample.gt_instances[:0]
    return batch


@pytest.mark.parametrize('build', DETECTORS + KIN)
def test_no_objects_at_all(build, detectors):
    model = detectors[build]
    batch = pictures(build)
    batch = emptied(batch, *range(len(batch['inputs'])))
    observation, _ = watch(model, batch)
    columns = 4 if observation.use_sigmoid else 5
    assert observation.logits.shape == (0, columns)
    assert len(observation.labels) == len(observation.weights) == 0
    assert observation.keys == []
    observation.logits.sum().backward()
    assert not any(
        p.grad.any() for p in model.parameters() if p.grad is not None
    )


@pytest.mark.parametrize('build', [tiny_cascade, tiny_ssd])
def test_predictions_of_a_detector_can_be_differentiated(build):
    model = build()
    observation, _ = watch(model, pictures(build))
    observation.logits.square().sum().backward()
    grads = {n: p.grad for n, p in trainable(model).items()}
    reached = [n for n, g in grads.items() if g is not None and g.any()]
    assert any('cls' in name for name in reached)
    assert any('backbone' in name for name in reached)
    assert not any('reg' in n or 'rpn' in n for n in reached)


def test_arcface_shows_what_it_predicts_in_a_test():
    """Without the margin that its loss takes off for the true class."""
    model = tiny_classifier(type='ArcFaceClsHead', scale=16.0)
    batch = classification_batch()
    observation, losses = watch(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    features = call(model.backbone, {}, data['inputs'])[0].mean(dim=(2, 3))
    weight = model.head.norm_product.weight
    want = 16 * torch.nn.functional.cosine_similarity(
        features[:, None], weight[None], dim=2
    )
    assert torch.allclose(observation.logits, want, rtol=1e-4, atol=1e-5)
    # PS-KD's difference fits a loss of these very logits alone.
    assert observation.cross_entropy == 0
    chosen = want.log_softmax(dim=1)[range(4), observation.labels]
    assert float(losses['loss']) > float(-chosen.mean()) + 0.1


def test_images_of_several_labels_have_independent_classes():
    model = classifier_with('MultiLabelLinearClsHead', use_sigmoid=True)
    batch = classification_batch(([0, 2], [], [1], [3, 0, 1]))
    observation, losses = watch(model, batch)
    assert observation.use_sigmoid and observation.cross_entropy == 0
    assert observation.labels.tolist() == [-1] * 4
    wanted = torch.tensor(
        [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1]]
    )
    p = observation.logits.sigmoid()
    entropies = -torch.where(wanted == 1, p.log(), (1 - p).log()).sum(dim=1)
    weighted = (observation.weights * entropies).sum()
    assert torch.allclose(weighted, losses['loss'])


def test_images_of_a_head_of_tokens():
    """Of a ViT, whose head takes the class token of the last layer."""
    arch = dict(embed_dims=8, num_layers=1, num_heads=2)
    arch['feedforward_channels'] = 8
    backbone = dict(type='VisionTransformer', arch=arch, img_size=32)
    backbone.update(patch_size=16, drop_rate=0.0)
    head = dict(type='VisionTransformerClsHead', num_classes=4, in_channels=8)
    torch.manual_seed(0)
    model = build(
        dict(type='ImageClassifier', backbone=backbone, head=head),
        'mmpretrain',
    )
    torch.nn.init.normal_(model.head.layers.head.weight)
    batch = classification_batch()
    inputs = torch.nn.functional.interpolate(
        torch.stack(batch['inputs']).float(), 32
    )
    batch['inputs'] = list(inputs)
    observation, _ = watch(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    want = model.head(model.extract_feat(data['inputs']))
    assert torch.equal(observation.logits, want) and want.std() > 0.1
    assert observation.cross_entropy == 1.0
    assert observation.weights.tolist() == [1 / 4] * 4


def test_half_precision_predictions_are_widened():
    model = tiny_classifier()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        observation, _ = watch(model, classification_batch())
    assert observation.logits.dtype == torch.float32
    assert observation.weights.dtype == torch.float32


@pytest.mark.parametrize('build', [tiny_classifier, *DETECTORS])
def test_an_observer_leaves_the_model_as_it_was(build, detectors):
    model = detectors.get(build) or build()
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


@pytest.mark.parametrize('name', ['_get_targets_single', 'loss_by_feat'])
def test_what_others_have_put_on_a_head_is_put_back(name, detectors):
    head = detectors[tiny_rtmdet].bbox_head
    calls, method = [], getattr(head, name)

    def others(*args, **kwargs):
        calls.append(name)
        return method(*args, **kwargs)

    setattr(head, name, others)
    try:
        watch(detectors[tiny_rtmdet], pictures(tiny_rtmdet))
        assert calls and vars(head)[name] is others
    finally:
        delattr(head, name)


def test_a_pass_that_never_reached_the_head_is_an_error():
    observer = TwoStageObserver(tiny_faster_rcnn())
    observer.start(), observer.stop()
    with pytest.raises(TypeError, match='loss_and_target.*sd_loss=None'):
        observer.observe([])
    observer = AnchorObserver(tiny_retinanet())
    observer.start(), observer.stop()
    with pytest.raises(TypeError, match='RetinaHead computes.*sd_loss=None'):
        observer.observe([])
    observer = ClassifierObserver(tiny_classifier())
    observer.start(), observer.stop()
    with pytest.raises(TypeError, match='returned NoneType.*sd_loss=None'):
        observer.observe([])


def test_mixed_labels_are_refused():
    model = tiny_classifier()
    batch = classification_batch()
    for sample in batch['data_samples']:
        sample.set_gt_score(torch.full((4,), 0.25))
    with pytest.raises(TypeError, match='gt_score.*off.*remove augments'):
        watch(model, batch)


def shipped(config):
    """One of mmdet's own detectors, narrow and without weights."""
    register_all_modules(init_default_scope=False)
    path = files('mmdet') / '.mim/configs' / config
    cfg = Config.fromfile(str(path)).model
    cfg.backbone = dict(type='ResNet', depth=18, base_channels=4)
    if cfg.type == 'DETR':
        cfg.encoder.num_layers = cfg.decoder.num_layers = 1
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


def sigmoid_faster_rcnn():
    model = tiny_faster_rcnn()
    model.roi_head.bbox_head.loss_cls.use_sigmoid = True
    return model


def grounding_dino():
    """With the head alone: its network reads texts, too."""
    model = tiny_dino()
    model.bbox_head.__class__ = GroundingDINOHead
    return model


def classifier_with(head, **loss):
    loss = dict(type='CrossEntropyLoss', **loss)
    return tiny_classifier(type=head, loss=loss)


@pytest.mark.parametrize(
    'build_model, named',
    [
        (
            lambda: classifier_with('DeiTClsHead'),
            'DeiTClsHead.*its distillation token is taught by another',
        ),
        (
            lambda: classifier_with('EfficientFormerClsHead'),
            'EfficientFormerClsHead.*it has a second head',
        ),
        (
            lambda: classifier_with('LinearRegressionHead'),
            'LinearRegressionHead.*it predicts numbers',
        ),
        (sigmoid_faster_rcnn, 'FasterRCNN with head StandardRoIHead'),
        (torch.nn.Sequential, 'Sequential with head NoneType .it has neither'),
        (
            'autoassign/autoassign_r50-caffe_fpn_1x_coco',
            'AutoAssign with head AutoAssignHead.*weighs all points',
        ),
        (
            'reppoints/reppoints-moment_r50_fpn_1x_coco',
            'RepPointsDetector with head RepPointsHead.*assigned twice',
        ),
        (
            'centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco',
            'CenterNet with head CenterNetUpdateHead.*heat maps of whole',
        ),
        (
            'guided_anchoring/ga-retinanet_r50_fpn_1x_coco',
            'RetinaNet with head GARetinaHead.*anchors are predicted',
        ),
        (
            'yolact/yolact_r50_1xb8-55e_coco',
            'YOLACT with head YOLACTHead.*for masks',
        ),
        (
            'pisa/faster-rcnn_r50_fpn_pisa_1x_coco',
            'FasterRCNN with head PISARoIHead.*by their rank',
        ),
        (
            'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman',
            'CrowdDet with head MultiInstanceRoIHead.*two objects',
        ),
        (grounding_dino, 'GroundingDINOHead.*.GroundingDINOHead._get_targ'),
    ],
)
def test_heads_that_cannot_be_seen_are_refused_by_name(build_model, named):
    model = (
        shipped(f'{build_model}.py')
        if isinstance(build_model, str)
        else build_model()
    )
    with pytest.raises(TypeError, match=named + '.*sd_loss=None') as error:
        build_observer(model)
    for supported in (
        'ClsHead',
        'StandardRoIHead',
        'CascadeRoIHead',
        'RetinaHead',
        'SSDHead',
        'FCOSHead',
        'ATSSHead',
        'RTMDetHead',
        'YOLOXHead',
        'DETRHead',
        'SparseRoIHead',
    ):
        assert supported in str(error.value)


@pytest.mark.parametrize('name', ['aux_head', 'roi_head'])
def test_a_detector_with_several_heads_is_told_so(name):
    """One of them would be distilled, and nobody knows which."""
    model = tiny_retinanet()
    build_observer(model)
    other = tiny_faster_rcnn().roi_head if name == 'roi_head' else None
    model.add_module(name, other or copy.deepcopy(model.bbox_head))
    message = rf'RetinaNet has several heads .*\(bbox_head, {name}\)'
    with pytest.raises(TypeError, match=message):
        build_observer(model)


def test_heads_in_a_list_are_refused():
    model = tiny_retinanet()
    model.bbox_head = torch.nn.ModuleList([model.bbox_head])
    with pytest.raises(TypeError, match='head ModuleList.*they are several'):
        build_observer(model)


@pytest.mark.parametrize('build', [tiny_retinanet, tiny_atss])
def test_what_lies_in_an_ignored_region_belongs_to_nothing(build, detectors):
    model = copy.deepcopy(detectors[build])
    batch = pictures(build, seed=1)
    for sample in batch['data_samples']:
        sample.ignored_instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0.0, 40.0, 40.0]]),
            labels=torch.tensor([0]),
        )
    before = seen_twice(model, batch)[2]
    model.bbox_head.assigner.ignore_iof_thr = 0.5
    observation, _, objects, _ = seen_twice(model, batch)
    agree(observation, objects, batch)
    positives = [
        sum(len(seen.rows) for seen in x.values()) for x in (before, objects)
    ]
    assert 0 < positives[1] < positives[0]


def test_proposals_in_an_ignored_region_belong_to_nothing(detectors):
    model = copy.deepcopy(detectors[tiny_faster_rcnn])
    batch = pictures(tiny_faster_rcnn, seed=1)
    for sample in batch['data_samples']:
        sample.ignored_instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0.0, 64.0, 64.0]]),
            labels=torch.tensor([0]),
        )
    counts = []
    for threshold in (-1, 0.5):
        model.roi_head.bbox_assigner.ignore_iof_thr = threshold
        observation, _, objects, _ = seen_twice(model, batch)
        agree(observation, objects, batch)
        counts.append(sum(len(seen.rows) for seen in objects.values()))
    # The objects themselves are among the proposals afterwards.
    assert counts[1] == 3 * 3 < counts[0]


def loosened(assigner):
    """Another one, which finds other predictions of the same objects."""
    other = copy.deepcopy(assigner)
    if hasattr(other, 'pos_iou_thr'):
        other.pos_iou_thr = other.neg_iou_thr = other.min_pos_iou = 0.05
    elif hasattr(other, 'topk'):
        other.topk = 2
    elif hasattr(other, 'candidate_topk'):
        other.candidate_topk = 2
    else:
        other.match_costs = other.match_costs[1:]
    return other


@pytest.mark.parametrize(
    'build',
    [
        tiny_faster_rcnn,
        tiny_retinanet,
        tiny_atss,
        tiny_rtmdet,
        tiny_yolox,
        tiny_dino,
    ],
)
def test_an_assigner_that_a_hook_replaces_in_mid_run_is_followed(
    build, detectors
):
    model = copy.deepcopy(detectors[build])
    observer, batch = build_observer(model), pictures(build, seed=1)
    owner, name = model, 'assigner'
    if hasattr(model, 'roi_head'):
        owner, name = model.roi_head, 'bbox_assigner'
    else:
        owner = model.bbox_head
    seen_before = []
    for change in (lambda assigner: assigner, loosened):
        setattr(owner, name, change(getattr(owner, name)))
        torch.manual_seed(5)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        observer.start()
        model(**data, mode='loss')
        observer.stop()
        observation = observer.observe(data['data_samples'])
        torch.manual_seed(5)
        _, objects, _ = observed(model, trainable(model), batch)
        # Loosened, an object has hundreds of rows: a sum in single precision.
        agree(observation, objects, batch, weights_within=1e-5)
        seen_before.append(observation.logits.detach())
    first, second = seen_before
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_thresholds_that_follow_the_training_are_followed():
    """Those of Dynamic R-CNN, which change at the end of a step."""
    model = stock('Dynamic R-CNN', strong_heads=True)
    model.roi_head.train_cfg.dynamic_rcnn.update(
        update_iter_interval=1, initial_iou=0.0, iou_topk=5
    )
    observer, thresholds = build_observer(model), []
    for step in range(3):
        batch = pictures(tiny_faster_rcnn, seed=step, labels=(0, 1, 2))
        twin = copy.deepcopy(model)
        thresholds.append(model.roi_head.bbox_assigner.pos_iou_thr)
        torch.manual_seed(5)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        observer.start()
        model(**data, mode='loss')
        observer.stop()
        torch.manual_seed(5)
        _, objects, _ = observed(twin, trainable(twin), batch)
        agree(observer.observe(data['data_samples']), objects, batch)
    assert len(set(thresholds)) == 3


@pytest.mark.parametrize(
    'build_model, loss, named',
    [
        (tiny_faster_rcnn, FocalLoss(), 'FocalLoss'),
        (
            tiny_cascade,
            CrossEntropyLoss(use_sigmoid=True),
            r'CrossEntropyLoss\(use_sigmoid=True\)',
        ),
        (tiny_retinanet, VarifocalLoss(), 'VarifocalLoss'),
    ],
)
def test_a_loss_that_cannot_be_used_is_named(build_model, loss, named):
    model = build_model()
    heads = getattr(model, 'roi_head', model).bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        head.loss_cls = loss
    message = f'Head and classification loss {named}'
    with pytest.raises(TypeError, match=message):
        build_observer(model)
