"""Objects of one-stage detectors, whatever belongs to them and however."""

import copy
from itertools import cycle

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import GFLHead, LADHead
from mmdet.structures.mask import BitmapMasks
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from epsd_mm.distillation import CSKDLoss, DLBLoss, Pairs, PSKDLoss
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import no_trace, scoring_copy
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.families.observers import build_observer
from epsd_mm.pruning import meta_gradient
from tests.helpers.dense import tiny_dense, without_batch_statistics
from tests.helpers.models import detection_batch, to_float64, trainable
from tests.helpers.oracles import (
    by_plain_operators,
    call,
    detector_dlb_losses,
    detector_loss,
    detector_ps_kd_losses,
    observed_in_loss,
    relative_error,
    total,
    unrolled_gradient,
)
from tests.helpers.stock import stock
from tests.helpers.taps import attached

NAMES = ['CenterNet', 'DDOD', 'FSAF', 'FoveaBox', 'GFL', 'GHM', 'Libra', 'PAA']
NAMES += ['PISA', 'SABL', 'YOLOF', 'YOLOv3', 'TOOD', 'VFNet', 'FreeAnchor']
NAMES += ['LAD']


@pytest.fixture(autouse=True)
def at_the_start():
    """TOOD asks the message hub for the epoch."""
    with no_trace(torch.device('cpu')):
        yield


@pytest.fixture(scope='module')
def detectors():
    return {name: tiny_dense(name) for name in NAMES}


def pictures(paths=('0.jpg',), **options):
    options.setdefault('labels', (0, 1, 2))
    return detection_batch(len(paths), 64, paths=paths, **options)


def watch(model, batch):
    observer = build_observer(model)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    observer.start()
    try:
        model(**data, mode='loss')
    finally:
        observer.stop()
    return observer.observe(data['data_samples'])


def agree_with_loss(model, batch):
    got = watch(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    _, objects, _ = observed_in_loss(model, trainable(model), data)
    assert len(got) == len(objects)
    for row, ((_, _, place), seen) in enumerate(sorted(objects.items())):
        assert got.labels[row] == seen.label
        want = seen.mean.detach()
        assert torch.allclose(got.logits[row].detach(), want, atol=1e-5)
        weight = float(got.weights[row])
        assert weight == pytest.approx(seen.weight, rel=1e-5)
        number = int([7, 2, 5][place])
        assert got.keys[row] == ('0.jpg', number, 0)
    assert got.use_sigmoid and got.logits.shape[1] == 4
    return objects


@pytest.mark.parametrize('name', NAMES)
def test_an_objects_prediction_is_what_the_loss_is_told_of_it(name, detectors):
    seen_at_all = many = 0
    for seed in range(3):
        objects = agree_with_loss(detectors[name], pictures(seed=seed))
        seen_at_all += len(objects)
        many += sum(len(seen.rows) > 1 for seen in objects.values())
    assert seen_at_all
    # Or means and sums would not be told from single rows.
    assert many or name in ('CenterNet', 'YOLOF', 'YOLOv3')


@pytest.mark.parametrize('name', NAMES)
def test_pictures_of_a_batch_are_told_apart(name, detectors):
    """Each is predicted for as it is alone; the first has no object."""
    model = without_batch_statistics(copy.deepcopy(detectors[name]))
    paths = tuple(f'{i}.jpg' for i in range(4))
    batch = pictures(paths, seed=3)
    batch['data_samples'][0].gt_instances = batch['data_samples'][
        0
    ].gt_instances[:0]
    together = watch(model, batch)
    found = {key: row for row, key in enumerate(together.keys)}
    apart = [
        watch(model, {k: v[i : i + 1] for k, v in batch.items()})
        for i in range(4)
    ]
    assert sorted(found) == sorted(key for one in apart for key in one.keys)
    for image, one in enumerate(apart):
        for row, key in enumerate(one.keys):
            same = found[key]
            assert together.images[same] == image
            assert torch.allclose(
                together.logits[same], one.logits[row], rtol=1e-3, atol=1e-4
            )


@pytest.mark.parametrize('name', NAMES)
def test_no_objects_are_no_rows(name, detectors):
    batch = pictures(('0.jpg', '1.jpg'))
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    observation = watch(detectors[name], batch)
    assert observation.logits.shape == (0, 4)
    assert observation.keys == []


@pytest.mark.parametrize('name', NAMES)
def test_ignored_regions_are_as_the_loss_has_them(name, detectors):
    model = copy.deepcopy(detectors[name])
    assigner = getattr(model.bbox_head, 'assigner', None)
    batch = pictures(seed=1)
    (sample,) = batch['data_samples']
    sample.ignored_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, 64.0, 64.0]]), labels=torch.zeros(1)
    )
    before = agree_with_loss(model, batch)
    assert before
    if hasattr(assigner, 'ignore_iof_thr'):
        assigner.ignore_iof_thr = 0.5
        counts = [
            sum(len(seen.rows) for seen in objects.values())
            for objects in (before, agree_with_loss(model, batch))
        ]
        # What matches an object best is its own, wherever it lies.
        assert counts[1] <= counts[0]


@pytest.mark.parametrize('name', ['FoveaBox', 'GFL', 'RTMDet', 'YOLOX'])
def test_a_detector_of_one_class(name):
    model = stock(name, strong_heads=True, num_classes=1)
    model.data_preprocessor.batch_augments = None  # asks a runner
    batch = pictures(('0.jpg', '1.jpg'), labels=(0, 0, 0), seed=1)
    observation = watch(model, batch)
    assert observation.logits.shape == (len(observation.keys), 1)
    assert len(observation) and not observation.labels.any()
    tap = attached(model, DLBLoss())
    for _ in range(2):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        term = model(**data, mode='loss')['loss_sd']
        tap.learn()
        torch.nn.init.normal_(next(iter(model.backbone.parameters())))
    assert float(term.detach()) > 0


@pytest.mark.parametrize('name', NAMES)
def test_the_head_is_left_as_it_was(name, detectors):
    model = detectors[name]
    before = set(vars(model.bbox_head))
    parts = list(model.modules())
    hooks = [len(p._forward_hooks) + len(p._forward_pre_hooks) for p in parts]
    watch(model, pictures())
    assert set(vars(model.bbox_head)) <= before | {'epoch'}
    assert hooks == [
        len(p._forward_hooks) + len(p._forward_pre_hooks) for p in parts
    ]


@pytest.mark.parametrize('name', ['CondInst', 'RTMDet-Ins'])
def test_objects_of_a_detector_with_masks(name):
    batch = pictures(seed=1)
    (sample,) = batch['data_samples']
    masks = np.zeros((3, 64, 64), np.uint8)
    boxes = sample.gt_instances.bboxes.int().tolist()
    for mask, (left, top, right, bottom) in zip(masks, boxes):
        mask[top:bottom, left:right] = 1
    sample.gt_instances.masks = BitmapMasks(masks, 64, 64)
    objects = agree_with_loss(tiny_dense(name), batch)
    assert any(len(seen.rows) > 1 for seen in objects.values())


def test_toods_objects_are_those_of_the_assigner_of_the_epoch(detectors):
    model = copy.deepcopy(detectors['TOOD'])
    hub = MessageHub.get_current_instance()
    switch = model.bbox_head.initial_epoch
    counts = []
    for epoch in (switch - 1, switch):
        hub.update_info('epoch', epoch)
        objects = agree_with_loss(model, pictures(seed=1))
        counts.append([len(seen.rows) for seen in objects.values()])
    assert counts[0] != counts[1]


def cs_kd_losses(model, batches, start, seeds):
    def at_step(batch, seed):
        def loss(theta):
            torch.manual_seed(seed)
            return detector_loss(
                model, theta, *Pairs().split(copy.deepcopy(batch))
            )

        return loss

    return [at_step(b, s) for b, s in zip(batches, seeds)]


ORACLES = {
    CSKDLoss: cs_kd_losses,
    PSKDLoss: detector_ps_kd_losses,
    DLBLoss: detector_dlb_losses,
}


def seeded(batches, seeds):
    for batch, seed in zip(batches, seeds):
        torch.manual_seed(seed)
        yield copy.deepcopy(batch)


@pytest.mark.parametrize('name, method', zip(NAMES, cycle(ORACLES)))
def test_walk_is_the_unrolled_graph(name, method, detectors):
    """Assignments are constants in both; each method on every third head."""
    lr = 1e-4
    model = to_float64(scoring_copy(detectors[name]))
    paths = ('0.jpg', '1.jpg')[: 1 + (method is CSKDLoss)]
    batches = [
        pictures(paths, seed=t, dtype=torch.float64)
        for t in range(3 if method is DLBLoss else 2)
    ]
    seeds = range(len(batches))
    start = {n: p.detach().clone() for n, p in trainable(model).items()}
    oracle = by_plain_operators(copy.deepcopy(model))
    losses = ORACLES[method](oracle, batches, start, seeds)
    want = unrolled_gradient(losses, start, lr)
    objective = ModelObjective(model, SelfDistillation(model, method()))
    got = meta_gradient(
        objective,
        trainable(model),
        ([batch] for batch in objective.begin(seeded(batches, seeds))),
        steps=1,
        lr=lr,
    )
    assert relative_error(got.gradient, want) < 1e-9
    assert objective.terms[-1]['sd'] > 0


@pytest.mark.parametrize('name', ['AutoAssign', 'GA-RetinaNet', 'RepPoints'])
def test_a_head_that_shows_no_object_is_scored_exactly(name):
    """By its plain loss, as no other can be had."""
    lr = 1e-4
    model = to_float64(scoring_copy(stock(name, strong_heads=True)))
    batches = [pictures(seed=t, dtype=torch.float64) for t in range(2)]
    oracle = copy.deepcopy(model)

    def at_step(batch, seed):
        def loss(theta):
            torch.manual_seed(seed)
            data = oracle.data_preprocessor(copy.deepcopy(batch), True)
            return total(call(oracle, theta, **data, mode='loss'))

        return loss

    losses = [at_step(batch, t) for t, batch in enumerate(batches)]
    want = unrolled_gradient(losses, trainable(model), lr)
    steps = ([batch] for batch in seeded(batches, range(2)))
    objective, start = ModelObjective(model), trainable(model)
    got = meta_gradient(objective, start, steps, steps=1, lr=lr)
    assert relative_error(got.gradient, want) < 1e-9


def test_a_background_among_freeanchors_classes_is_refused():
    """It has a column, which the head takes as one more class."""
    loss = dict(type='CrossEntropyLoss', use_sigmoid=False)
    with pytest.raises(TypeError, match='FreeAnchorRetinaHead'):
        build_observer(stock('FreeAnchor', loss_cls=loss))


def test_what_lads_teacher_says_is_what_counts(detectors):
    """And nothing of it is changed, or learns."""
    model = copy.deepcopy(detectors['LAD'])
    teacher = model.teacher_model
    before, state = set(vars(teacher.bbox_head)), teacher.state_dict()
    state = {name: tensor.clone() for name, tensor in state.items()}
    of_one = agree_with_loss(model, pictures(seed=1))
    assert set(vars(teacher.bbox_head)) == before
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert not set(teacher.parameters()) & set(model.parameters())
    torch.manual_seed(1)
    for weight in teacher.bbox_head.parameters():
        torch.nn.init.normal_(weight)
    of_another = agree_with_loss(model, pictures(seed=1))
    means = [
        {key: seen.mean for key, seen in objects.items()}
        for objects in (of_one, of_another)
    ]
    both = means[0].keys() & means[1].keys()
    assert both
    # The network that learns is the same.
    assert any(not torch.equal(means[0][k], means[1][k]) for k in both)


class OwnTeacher(LADHead):
    """Of a user, who may pass on other assignments than were made."""

    def get_label_assignment(self, *args, **kwargs):
        return super().get_label_assignment(*args, **kwargs)


def test_a_teacher_that_assigns_anew_is_refused(detectors):
    model = copy.deepcopy(detectors['LAD'])
    model.teacher_model.bbox_head.__class__ = OwnTeacher
    with pytest.raises(TypeError, match='LADHead and .*sd_loss=None'):
        build_observer(model)


class OwnLayers(GFLHead):
    """Of a user, who changes what is predicted, and nothing of how."""

    def forward_single(self, x, scale):
        return super().forward_single(x.relu(), scale)


class OwnLoss(GFLHead):
    """Of a user, who may weigh anything by anything."""

    def loss_by_feat(self, *args, **kwargs):
        return super().loss_by_feat(*args, **kwargs)


def test_a_head_that_derives_from_one_is_seen_unless_it_sums_up_anew():
    model = tiny_dense('GFL')
    model.bbox_head.__class__ = OwnLayers
    agree_with_loss(model, pictures())
    model.bbox_head.__class__ = OwnLoss
    with pytest.raises(TypeError, match='head OwnLoss and .*sd_loss=None'):
        build_observer(model)
