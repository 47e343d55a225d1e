"""The three self-distillation methods on the objects of detectors."""

import copy
import itertools
import logging
import shutil
from collections import defaultdict

import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.models.detectors import ddq_detr
from mmdet.models.layers.transformer import ddq_detr_layers
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.distillation import (
    CSKDLoss,
    DLBLoss,
    Observation,
    Pairs,
    PSKDLoss,
)
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import ScoringJob, scoring_copy
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import meta_gradient
from tests.helpers.detectors import DETECTORS, KIN, SIGMOID, lively, pictures
from tests.helpers.families import tiny_rtmdet, tiny_yolox
from tests.helpers.models import (
    tiny_cascade,
    tiny_faster_rcnn,
    tiny_fcos,
    tiny_retinanet,
    tiny_ssd,
    to_float64,
    trainable,
)
from tests.helpers.oracles import (
    by_plain_operators,
    detector_dlb_losses,
    detector_loss,
    detector_ps_kd_losses,
    divergence,
    observed,
    relative_error,
    unrolled_gradient,
)
from tests.helpers.queries import (
    dino_config,
    tiny_dino,
    tiny_sparse,
)
from tests.helpers.runners import (
    CLASSES,
    EPSD,
    PAIRS,
    hook_of,
    runner_of,
    tiny_detector_cfg,
)
from tests.helpers.stock import stock_config
from tests.helpers.taps import answers_of, attached

LR = 1e-3


@pytest.fixture(scope='module')
def detectors():
    """One of each kind in double precision, as it is scored."""
    return {build: double(build) for build in DETECTORS}


def double(build):
    return to_float64(scoring_copy(lively(build)))


def steps_of(build, method):
    """Pictures of two steps; DLB has the batch before them as well.

    The pictures of a step are those of the step before, drawn anew.
    """
    pairs = method is CSKDLoss
    paths = ('0.jpg', '1.jpg')[: 1 + (pairs or build is not tiny_ssd)]
    return [
        pictures(build, paths, seed=t, labels=(0, 1, 2), dtype=torch.float64)
        for t in range(3 if method is DLBLoss else 2)
    ]


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
    """Each batch starts from random numbers of its own."""
    for batch, seed in zip(batches, seeds):
        torch.manual_seed(seed)
        yield copy.deepcopy(batch)


def nms_in_single_precision(boxes, scores, *args):
    """Of which only positions are taken: mmcv's refuses double precision."""
    return batched_nms(boxes.float(), scores.float(), *args)


@pytest.mark.parametrize(
    'build, method',
    [*itertools.product(DETECTORS, ORACLES)]
    + [(build, CSKDLoss) for build in KIN],
)
def test_walk_is_the_unrolled_graph(
    build, method, detectors, default_dtype, monkeypatch
):
    if build in (tiny_dino, *KIN):  # their noise and sines are of that type
        default_dtype(torch.float64)
    for module in (ddq_detr, ddq_detr_layers):
        monkeypatch.setattr(module, 'batched_nms', nms_in_single_precision)
    model = copy.deepcopy(detectors.get(build) or double(build))
    batches = steps_of(build, method)
    seeds = range(len(batches))
    start = {n: p.detach().clone() for n, p in trainable(model).items()}
    oracle = by_plain_operators(copy.deepcopy(model))
    losses = ORACLES[method](oracle, batches, start, seeds)
    want = unrolled_gradient(losses, start, LR)
    objective = ModelObjective(model, SelfDistillation(model, method()))
    steps = objective.begin(seeded(batches, seeds))
    got = meta_gradient(
        objective,
        trainable(model),
        ([batch] for batch in steps),
        steps=1,
        lr=LR,
    )
    assert relative_error(got.gradient, want) < 1e-9
    first, second = (abs(terms['sd']) for terms in objective.terms)
    assert second > 1e-6
    # A divergence from what the very weights say is nothing, until they move.
    sigmoid = build in SIGMOID
    assert (first > 1e-6) == (not sigmoid or method is not PSKDLoss)


def test_a_term_that_is_flat_at_first_is_not_scored_alone(detectors):
    """A divergence from one's own prediction has no slope there."""
    model = copy.deepcopy(detectors[tiny_retinanet])
    distillation = SelfDistillation(model, PSKDLoss())
    objective = ModelObjective(model, distillation, task=0.0)
    (batch,) = steps_of(tiny_retinanet, PSKDLoss)[:1]
    with pytest.raises(ValueError, match='PSKDLoss is a divergence.*flat'):
        objective.record(trainable(model), copy.deepcopy(batch))


@pytest.mark.parametrize('build', DETECTORS)
def test_a_detector_with_a_sigmoid_is_told_that_its_masks_are_plain(build):
    """A softmax's term reaches objects alone, and other losses do not."""
    settings = Settings.build(
        sparsity=0.5, criterion='SNIP', sd_loss='PSKDLoss', draws=1, seed=0
    )
    logger = MMLogger.get_current_instance()
    job = ScoringJob(build(), lambda draw: (), settings, logger)
    assert job.repeats_plain == (build in SIGMOID)


@pytest.fixture
def warnings():
    """What is warned of, as text."""
    said = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def losses_of(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return model(**data, mode='loss')


def emptied(batch):
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    return batch


@pytest.mark.parametrize('method', ORACLES)
@pytest.mark.parametrize(
    'build',
    [
        tiny_cascade,
        tiny_retinanet,
        tiny_fcos,
        tiny_rtmdet,
        tiny_yolox,
        tiny_dino,
        tiny_sparse,
    ],
)
def test_without_any_object_the_term_is_exactly_zero_and_says_so_once(
    build, method, warnings
):
    model = lively(build)
    tap = attached(model, method())
    nothing = emptied(pictures(build, ('0.jpg', '1.jpg')))
    for _ in range(2):
        term = losses_of(model, nothing)['loss_sd']
        tap.learn()
        assert float(term.detach()) == 0
        term.backward()
    assert not any(
        p.grad.any() for p in model.parameters() if p.grad is not None
    )
    (said,) = [text for text in warnings if 'no object' in text]
    assert 'no object of this batch has a positive' in said
    batch = pictures(build, ('0.jpg', '1.jpg'), labels=(0, 1, 2))
    for _ in range(2):
        term = losses_of(model, batch)['loss_sd']
        tap.learn()
        torch.nn.init.normal_(next(iter(model.backbone.parameters())))
    assert float(term.detach()) != 0


@pytest.mark.parametrize('build', [tiny_faster_rcnn, tiny_cascade, tiny_ssd])
def test_with_the_heads_own_cross_entropy_ps_kd_is_never_negative(
    build, detectors
):
    """``Σ_j CE(z_j, (1 − α) y + α P) / n`` over the positives ``j``."""
    model = copy.deepcopy(detectors[build])
    batch = pictures(build, ('0.jpg',), dtype=torch.float64)
    tap = attached(model, PSKDLoss(alpha=0.8))
    answers = answers_of(tap.teacher)
    losses_of(model, batch)
    tap.learn()
    # Far from the past, where a term by itself could be of any size.
    for name, p in model.named_parameters():
        if 'cls' in name and 'rpn' not in name:
            p.data.mul_(-30)
    torch.manual_seed(0)
    term = float(losses_of(model, batch)['loss_sd'].detach())
    rows, found = answers[-1]
    tap.detach()
    torch.manual_seed(0)
    _, objects, _ = observed(model, trainable(model), batch)
    assert len(objects) == len(rows)
    own = soft = 0.0
    for (_, seen), past, known in zip(sorted(objects.items()), rows, found):
        y = torch.eye(5, dtype=torch.float64)[seen.label]
        target = 0.2 * y + 0.8 * past if known else y
        for row in seen.rows:
            log_p = torch.log_softmax(row.detach(), dim=0)
            own -= seen.share * float((y * log_p).sum())
            soft -= seen.share * float((target * log_p).sum())
    assert found.any() and abs(term) > 1
    assert own + term == pytest.approx(soft, rel=1e-9)
    assert soft > 0


def test_stages_with_different_losses_have_no_common_factor():
    model = tiny_cascade()
    model.roi_head.bbox_head[2].loss_cls.loss_weight = 2.0
    tap = attached(model, PSKDLoss())
    answers = answers_of(tap.teacher)
    for _ in range(2):
        term = losses_of(model, pictures(tiny_cascade))['loss_sd']
        tap.learn()
        torch.nn.init.normal_(model.backbone.conv1.weight)
    # The divergence is positive, where the difference may be negative.
    assert float(term.detach()) > 0
    assert answers[-1][1].any()


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=6, test=2, size=64, classes=CLASSES)


class Witness(Hook):
    """Writes down what is predicted for which objects, in training.

    Nothing of this pipeline drops a box, so that an object is known by its
    place among those of its picture that are not ignored.
    """

    priority = 'VERY_LOW'

    def before_train(self, runner):
        self.steps, self._results = [], []
        head = runner.model.roi_head
        runner.model.register_forward_pre_hook(self._begin, with_kwargs=True)
        self._sample, head.bbox_sampler.sample = (
            head.bbox_sampler.sample,
            self._record,
        )
        head.bbox_head.register_forward_hook(self._end)

    def _begin(self, model, args, kwargs):
        samples = kwargs.get('data_samples') or args[1]
        self._paths = [sample.img_path for sample in samples]
        self._results = []

    def _record(self, *args, **kwargs):
        self._results.append(self._sample(*args, **kwargs))
        return self._results[-1]

    def _end(self, head, args, outputs):
        logits = outputs[0].detach().double()
        rows, start = defaultdict(list), 0
        for image, result in enumerate(self._results):
            places = result.pos_assigned_gt_inds.tolist()
            labels = result.pos_gt_labels.tolist()
            for i, (place, label) in enumerate(zip(places, labels)):
                key = image, self._paths[image], place, label
                rows[key].append(logits[start + i])
            start += len(places) + len(result.neg_inds)
        self.steps.append(
            [
                (path, place, label, torch.stack(r).mean(0), len(r) / start)
                for (_, path, place, label), r in rows.items()
            ]
        )


def ps_kd_terms(steps, epochs):
    """Nothing in the first epoch, then ``α (t + 1) / T`` of the difference."""
    past, terms = {}, []
    for index, step in enumerate(steps):
        alpha = 0.8 * (1 + index * epochs // len(steps)) / epochs
        term, latest = 0.0, {}
        for path, place, label, logits, weight in step:
            log_q = torch.log_softmax(logits, dim=0)
            if (path, place) in past:
                p = past[path, place]
                term += weight * float(log_q[label] - (p * log_q).sum())
            latest[path, place] = log_q.exp()
        past.update(latest)
        terms.append(alpha * term)
    return terms


def dlb_terms(steps, epochs):
    """``T² KL`` of what the step before showed as well, T = 3."""
    before, terms = {}, []
    for step in steps:
        shared = [row for row in step if row[:2] in before]
        term = sum(
            weight
            * 9
            * float(divergence(before[path, place][None], logits[None], 3.0))
            for path, place, _, logits, weight in shared
        )
        if shared:
            term *= sum(row[4] for row in step) / sum(r[4] for r in shared)
        terms.append(term)
        before = {row[:2]: row[3] for row in step}
    return terms


ASPECT = dict(type='AspectRatioBatchSampler')
TRAINED = [
    (PSKDLoss, ASPECT, ps_kd_terms),
    (DLBLoss, dict(type='OverlapBatchSampler', base=ASPECT), dlb_terms),
]


def detector_run(data_root, folder, method, sampler, model=None, **changes):
    epsd = dict(EPSD, sd_loss=dict(type=method.__name__))
    cfg = tiny_detector_cfg(data_root, folder, epsd, epochs=2)
    cfg.train_dataloader.batch_sampler = sampler
    if model is not None:
        cfg.model = model
    cfg.update(changes)
    return runner_of(cfg)


@pytest.mark.parametrize('method, sampler, terms', TRAINED)
def test_objects_in_training_and_after_a_resume(
    method, sampler, terms, data_root, tmp_path
):
    whole = detector_run(data_root, tmp_path / 'whole', method, sampler)
    witness = Witness()
    whole.register_hook(witness, priority='VERY_LOW')
    whole.train()
    want = terms(witness.steps, epochs=2)
    logged, _ = whole.message_hub.get_scalar('train/loss_sd').data
    assert logged.tolist() == pytest.approx(want, rel=2e-2, abs=1e-4)
    silent = len(want) // 2 if method is PSKDLoss else 1
    assert not any(want[:silent])
    assert sum(term != 0 for term in want[silent:]) > len(want[silent:]) / 2

    # It lies elsewhere by now.
    second = detector_run(
        shutil.copytree(data_root, tmp_path / 'moved'),
        tmp_path / 'resumed',
        method,
        sampler,
        load_from=str(tmp_path / 'whole' / 'epoch_1.pth'),
        resume=True,
    )
    second.train()
    trained, resumed = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(trained[n], resumed[n]) for n in trained)

    teachers = [hook_of(r)._distillation.teacher for r in (whole, second)]
    keys = annotated(whole.train_dataloader.dataset)
    steps = witness.steps[-1:] if method is DLBLoss else witness.steps
    seen = {row[:2] for step in steps for row in step}
    for teacher in teachers:
        found = teacher.recall(known(keys.values()))[1].tolist()
        assert {k for k, f in zip(keys, found) if f} == seen
    if method is PSKDLoss:
        assert len(teachers[0]) == len(seen) == len(teachers[1])


#: Each loss, and the batches it needs.
RESUMED = {
    CSKDLoss: PAIRS,
    PSKDLoss: ASPECT,
    DLBLoss: dict(type='OverlapBatchSampler', base=ASPECT),
}


def detector_with(name, method, data_root, folder, **changes):
    epsd = dict(EPSD, sd_loss=dict(type=method.__name__))
    if name == 'DINO':
        # Attention looks nowhere in particular before it is trained.
        epsd.update(zero_layers='dense')
        model = dino_config()
    else:
        epsd.update(exclude=['bbox_head.*'])  # no object is of the last level
        model = stock_config(name)
        # Its sizes are drawn every ten steps, and not saved.
        model.data_preprocessor.batch_augments = None
    cfg = tiny_detector_cfg(data_root, folder, epsd, epochs=2)
    cfg.model = model
    cfg.train_dataloader.batch_sampler = RESUMED[method]
    cfg.update(changes)
    return runner_of(cfg)


#: CS-KD remembers nothing, so that two of the heads are enough for it.
HEADS = {
    CSKDLoss: ['RTMDet', 'DINO'],
    PSKDLoss: ['FCOS', 'ATSS', 'RTMDet', 'YOLOX', 'DINO'],
    DLBLoss: ['FCOS', 'ATSS', 'RTMDet', 'YOLOX', 'DINO'],
}


@pytest.mark.parametrize(
    'name, method',
    [(name, method) for method, names in HEADS.items() for name in names],
)
def test_a_detector_goes_on_after_a_resume(name, method, data_root, tmp_path):
    whole = detector_with(name, method, data_root, tmp_path / 'whole')
    whole.train()
    terms, _ = whole.message_hub.get_scalar('train/loss_sd').data
    silent = dict(PSKDLoss=len(terms) // 2, DLBLoss=1).get(method.__name__, 0)
    assert not terms[:silent].any() and terms[silent:].any()
    resumed = detector_with(
        name,
        method,
        data_root,
        tmp_path / 'resumed',
        load_from=str(tmp_path / 'whole' / 'epoch_1.pth'),
        resume=True,
    )
    resumed.train()
    trained, again = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(trained[n], again[n]) for n in trained)
    if method is CSKDLoss:  # its partners come with each batch
        return
    rows, again = (
        hook_of(run)._distillation.teacher.state_dict()[
            'logits' if method is DLBLoss else 'values'
        ]
        for run in (whole, resumed)
    )
    assert len(rows) and torch.equal(rows, again)


def annotated(dataset):
    """Keys by path and place among the objects that are not ignored.

    Names of files tell the images apart, so they are enough of a path.
    """
    keys = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        place = 0
        for number, instance in enumerate(info['instances']):
            if not instance['ignore_flag']:
                key = info['img_path'].split('/')[-1], number, 0
                keys[info['img_path'], place] = key
                place += 1
    return keys


def known(keys):
    """Objects of these keys, of which nothing else matters."""
    n = len(keys)
    zeros = torch.zeros(n)
    return Observation(
        torch.zeros(n, 5), zeros.long(), zeros, zeros.long(), list(keys)
    )
