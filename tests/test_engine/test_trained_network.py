"""Knowledge distillation from a trained network, in scoring and training."""

import copy
import shutil

import pytest
import torch

from epsd_mm.distillation import KD
from epsd_mm.engine.identity import identity
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.engine.settings import Settings
from epsd_mm.engine.trained_network import TrainedNetwork
from epsd_mm.pruning import meta_gradient
from tests.helpers.datasets import picture_folder
from tests.helpers.detectors import DETECTORS, SIGMOID, lively, pictures
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_cascade,
    tiny_classifier,
    tiny_faster_rcnn,
    tiny_retinanet,
    to_float64,
    trainable,
)
from tests.helpers.oracles import (
    by_plain_operators,
    call,
    divergence,
    observed,
    relative_error,
    row_divergence,
    total,
    unrolled_gradient,
)
from tests.helpers.queries import tiny_ddq, tiny_detr, tiny_dino
from tests.helpers.runners import (
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
)
from tests.helpers.taps import attached
from tests.helpers.teachers import file_of, other_weights

T, ALPHA = 4.0, 0.9
LR = 1e-3


def as_it_predicts(teacher):
    """In the mode of training, but for what is by chance or counts."""
    quiet = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.Dropout)
    for module in teacher.train().modules():
        if isinstance(module, (*quiet, torch.nn.MultiheadAttention)):
            module.eval()
    return teacher


def distilling(model, teacher, **weights):
    loss = KD(teacher, temperature=T, alpha=ALPHA)
    return ModelObjective(model, SelfDistillation(model, loss), **weights)


# Scoring


@pytest.mark.parametrize('task, sd', [(1.0, 1.0), (0.0, 1.0), (0.5, 2.0)])
def test_the_walk_over_a_classifier_is_the_unrolled_graph(task, sd):
    model = to_float64(tiny_classifier())
    teacher = other_weights(model)
    batches = [classification_batch(seed=t) for t in range(4)]
    oracle, calm = copy.deepcopy(model), copy.deepcopy(teacher).eval()

    def at_step(batch):
        def loss(theta):
            data = oracle.data_preprocessor(copy.deepcopy(batch), True)
            labels = [int(s.gt_label) for s in data['data_samples']]
            z = call(oracle, theta, data['inputs'], mode='tensor')
            with torch.no_grad():
                taught = calm(data['inputs'], mode='tensor')
            ce = -torch.log_softmax(z, 1)[range(len(labels)), labels].mean()
            kl = divergence(taught, z, T).mean()
            return task * ce + sd * ALPHA * (T**2 * kl - ce)

        return loss

    written = [at_step(batch) for batch in batches]
    want = unrolled_gradient(written, trainable(oracle), 0.1)
    got = meta_gradient(
        distilling(model, teacher, task=task, sd=sd),
        trainable(model),
        iter([[batch] for batch in batches]),
        steps=3,
        lr=0.1,
    )
    assert relative_error(got.gradient, want) < 1e-9


@pytest.mark.parametrize('build', DETECTORS)
def test_the_walk_over_a_detector_is_the_unrolled_graph(build, default_dtype):
    """Each sees the objects through its own proposals and assignments."""
    if build is tiny_dino:
        default_dtype(torch.float64)
    model = to_float64(scoring_copy(lively(build)))
    teacher = other_weights(model)
    batches = [
        pictures(
            build, ('0.jpg',), seed=t, labels=(0, 1, 2), dtype=torch.float64
        )
        for t in range(2)
    ]
    oracle = by_plain_operators(copy.deepcopy(model))
    calm = as_it_predicts(by_plain_operators(copy.deepcopy(teacher)))
    mixes = build not in SIGMOID
    shared = []

    def at_step(seed):
        def loss(theta):
            torch.manual_seed(seed)
            with torch.no_grad():
                weights = dict(calm.named_parameters())
                taught = observed(calm, weights, batches[seed])[1]
            torch.manual_seed(seed)
            losses, objects, _ = observed(oracle, theta, batches[seed])
            loss = total(losses)
            shared.append(len(objects.keys() & taught.keys()))
            for key in objects.keys() & taught.keys():
                seen = objects[key]
                kl = row_divergence(oracle, taught[key].mean, seen.mean, T)
                ce = -torch.log_softmax(seen.mean, 0)[seen.label] * mixes
                loss = loss + ALPHA * seen.weight * (T**2 * kl - ce)
            return loss

        return loss

    def seeded():
        for seed, batch in enumerate(batches):
            torch.manual_seed(seed)
            yield [copy.deepcopy(batch)]

    written = [at_step(seed) for seed in range(2)]
    want = unrolled_gradient(written, trainable(oracle), LR)
    objective = distilling(model, teacher)
    got = meta_gradient(objective, trainable(model), seeded(), steps=1, lr=LR)
    assert relative_error(got.gradient, want) < 1e-9
    assert min(shared) >= 2 and objective.terms[0]['sd'] != 0


@pytest.mark.parametrize('build', [tiny_ddq, tiny_detr])
def test_decoders_that_know_their_losses_in_training_alone_teach(build):
    model = lively(build)
    taught = TrainedNetwork(KD(other_weights(model)), model)
    data = model.data_preprocessor(detection_batch(labels=(0, 1, 2)), True)
    assert len(taught.predict(**data)) >= 3


# What a teacher is


def test_a_teacher_is_calm_and_stays_as_it_is():
    """Neither statistics nor dropout, nor what its samples are given."""
    model = lively(tiny_faster_rcnn)
    model.roi_head.bbox_head.shared_fcs.append(torch.nn.Dropout(0.5))
    taught = TrainedNetwork(KD(other_weights(model)), model)
    data = model.data_preprocessor(detection_batch(labels=(0, 1, 2)), True)
    before = copy.deepcopy(taught.network.state_dict())
    state = torch.get_rng_state()
    samples = copy.deepcopy(data['data_samples'])
    first = taught.predict(**data)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(taught.predict(**data).logits, first.logits)
    for name, value in taught.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    for sample, old in zip(data['data_samples'], samples):
        assert sorted(sample.all_keys()) == sorted(old.all_keys())
    assert not first.logits.requires_grad


def test_a_network_teaches_itself_what_it_predicts():
    """Row by row, of the same proposals: the divergence is nothing."""
    model = as_it_predicts(lively(tiny_faster_rcnn))
    tap = attached(model, KD(model, alpha=1.0))
    data = model.data_preprocessor(detection_batch(labels=(0, 1, 2)), True)
    model(**data, mode='loss')
    tap.detach()
    torch.manual_seed(0)
    distillation = SelfDistillation(model, KD(model))
    taught = distillation.lesson(**data)
    torch.manual_seed(0)
    seen = distillation.look(model, data)
    assert torch.equal(taught.logits, seen.logits)


def test_a_training_step_has_the_teachers_word_for_the_augmented_images():
    model = tiny_classifier()
    teacher = other_weights(model)
    attached(model, KD(teacher, temperature=T, alpha=ALPHA))
    data = model.data_preprocessor(classification_batch(), True)
    losses = model(**data, mode='loss')
    z = model.head(model.extract_feat(data['inputs'])).detach()
    with torch.no_grad():
        taught = teacher.eval()(data['inputs'], mode='tensor')
    ce = torch.nn.functional.cross_entropy(z, torch.arange(4))
    kl = divergence(taught.double(), z.double(), T).mean()
    want = ALPHA * (T**2 * kl - ce)
    assert set(losses) == {'loss_cls', 'loss_sd'}
    assert float(losses['loss_sd'].detach()) == pytest.approx(float(want))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """24 pictures of 4 classes."""
    return picture_folder(tmp_path_factory.mktemp('pictures') / 'set')


@pytest.fixture
def teacher(tmp_path):
    return file_of(tiny_classifier(seed=5), tmp_path / 'teacher')


def taught_by(teacher, **options):
    hook = dict(type='EPSDHook', criterion=None)
    return dict(hook, sd_loss=dict(type='KD', teacher=teacher), **options)


def test_it_is_the_network_of_the_file_and_draws_no_random_number(teacher):
    student, want = tiny_classifier(seed=1), tiny_classifier(seed=5)
    state = torch.get_rng_state()
    network = TrainedNetwork(KD(teacher), student).network
    assert torch.equal(torch.get_rng_state(), state)
    got = network.state_dict()
    for name, value in want.state_dict().items():
        assert torch.equal(got[name], value), name
    assert not any(p.requires_grad for p in network.parameters())


# Training


def test_a_teacher_is_in_no_checkpoint_optimizer_or_average(
    images, teacher, tmp_path
):
    def trained(name, hook):
        cfg = tiny_classifier_cfg(images, tmp_path / name, hook)
        cfg.custom_hooks = [dict(type='EMAHook')]
        runner = runner_of(cfg)
        runner.train()
        terms = runner.message_hub.log_scalars.get('train/loss_sd')
        assert (name == 'taught') == (terms is not None)
        assert terms is None or (
            len(terms.data[0]) == 6 and all(terms.data[0])
        )
        content = torch.load(
            tmp_path / name / 'epoch_1.pth', weights_only=False
        )
        return dict(
            weights=list(content['state_dict']),
            averaged=list(content['ema_state_dict']),
            parts=[n for n, _ in runner.model.named_modules()],
            optimised=len(runner.optim_wrapper.param_groups[0]['params']),
        )

    plain = trained('plain', dict(type='DenseHook'))
    assert trained('taught', taught_by(teacher)) == plain


@pytest.mark.parametrize(
    'options', [{}, dict(criterion='SNIP', sparsity=0.5, draws=1)]
)
def test_a_resumed_run_ends_as_the_uninterrupted_one(
    options, images, teacher, tmp_path
):
    """Also where the teacher lies elsewhere by then."""

    def weights(name, teacher, resume_from=None):
        hook = taught_by(teacher, **options)
        cfg = tiny_classifier_cfg(images, tmp_path / name, hook, epochs=2)
        if resume_from is not None:
            cfg.load_from, cfg.resume = str(resume_from), True
        runner_of(cfg).train()
        return torch.load(tmp_path / name / 'epoch_2.pth', weights_only=False)

    whole = weights('whole', teacher)['state_dict']
    first = tmp_path / 'whole' / 'epoch_1.pth'
    shutil.move(tmp_path / 'teacher', tmp_path / 'moved')
    moved = {
        name: path.replace('/teacher/', '/moved/')
        for name, path in teacher.items()
    }
    resumed = weights('resumed', moved, first)['state_dict']
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    other = file_of(tiny_classifier(seed=6), tmp_path / 'other')
    with pytest.raises(ValueError, match='was trained with sd_loss='):
        weights('other', other, first)


def test_what_is_scored_is_told_apart_by_the_content_of_the_teacher(
    teacher, tmp_path
):
    def digest(teacher):
        settings = Settings(sd_loss=KD(teacher), masks='any.pth')
        return identity(settings)['sd_loss']['teacher']

    first = digest(teacher)
    same = file_of(tiny_classifier(seed=5), tmp_path / 'same')
    shutil.copy(teacher['checkpoint'], same['checkpoint'])
    assert digest(same) == first
    changed = file_of(tiny_classifier(seed=6), tmp_path / 'teacher')
    assert digest(changed) != first


def test_a_pruned_network_teaches_with_its_zeros(images, tmp_path):
    hook = dict(
        type='EPSDHook',
        criterion='Magnitude',
        sparsity=0.5,
        allocation='uniform',
    )
    cfg = tiny_classifier_cfg(images, tmp_path / 'pruned', hook)
    runner_of(cfg).train()
    cfg.dump(tmp_path / 'pruned' / 'config.py')
    teacher = dict(
        config=str(tmp_path / 'pruned' / 'config.py'),
        checkpoint=str(tmp_path / 'pruned' / 'epoch_1.pth'),
    )
    network = TrainedNetwork(KD(teacher), tiny_classifier()).network
    zeros = sum((p == 0).sum() for p in network.parameters() if p.dim() > 1)
    every = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    assert float(zeros) / every == pytest.approx(0.5, abs=0.01)


# What cannot teach


def started(images, work_dir, loss):
    hook = dict(type='EPSDHook', sparsity=0.5, criterion='SNIP', sd_loss=loss)
    cfg = tiny_classifier_cfg(images, work_dir, hook)
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)


def test_without_a_teacher_nothing_is_scored_or_trained(images, tmp_path):
    with pytest.raises(ValueError, match='KD has teacher=None.*checkpoint=P'):
        started(images, tmp_path, dict(type='KD'))
    assert not (tmp_path / 'epsd').exists()
    with pytest.raises(ValueError, match='KD has teacher=None'):
        SelfDistillation(tiny_classifier(), KD())


@pytest.mark.parametrize('name', ['config', 'checkpoint'])
def test_a_missing_file_is_named(name, images, teacher, tmp_path):
    teacher[name] = 'gone.file'
    with pytest.raises(FileNotFoundError, match=f"teacher.{name}='gone.file'"):
        started(images, tmp_path, dict(type='KD', teacher=teacher))


def test_a_checkpoint_of_another_network_is_named(teacher):
    torch.save(dict(state_dict={}), teacher['checkpoint'])
    with pytest.raises(ValueError, match='epoch_1.pth is not of the network'):
        TrainedNetwork(KD(teacher), tiny_classifier())


def test_a_damaged_checkpoint_is_named(teacher):
    with open(teacher['checkpoint'], 'r+b') as file:
        file.truncate(500)
    with pytest.raises(ValueError, match='epoch_1.pth is damaged'):
        TrainedNetwork(KD(teacher), tiny_classifier())


def test_classes_in_another_order_are_refused(images, tmp_path):
    names = sorted(p.name for p in images.iterdir() if p.is_dir())
    teacher = file_of(
        tiny_classifier(),
        tmp_path / 'teacher',
        dataset_meta=dict(classes=[names[1], names[0], *names[2:]]),
    )
    with pytest.raises(ValueError, match=f"from number 0 on \\('{names[1]}'"):
        started(images, tmp_path, dict(type='KD', teacher=teacher))


def of_other_pixels():
    model = tiny_classifier()
    model.data_preprocessor.mean += 1
    return model


@pytest.mark.parametrize(
    'build, student, words',
    [
        (
            lambda: tiny_classifier(classes=5),
            tiny_classifier,
            'teacher has 5 classes and the student 4',
        ),
        (of_other_pixels, tiny_classifier, r'takes mean=\[129.0'),
        (tiny_faster_rcnn, tiny_classifier, 'a detector teaches detectors'),
        (tiny_retinanet, tiny_faster_rcnn, 'predicts independent classes and'),
        (
            lambda: torch.nn.Linear(2, 2),
            tiny_classifier,
            'teacher has None classes',
        ),
        (lambda: len, tiny_classifier, 'is no OpenMMLab model'),
    ],
)
def test_what_does_not_fit_the_student_is_one_sentence(build, student, words):
    with pytest.raises(ValueError, match=words):
        TrainedNetwork(KD(build()), student())


def test_a_head_that_no_observer_knows_cannot_teach():
    teacher = tiny_classifier()
    teacher.head = torch.nn.Linear(8, 4)
    teacher.head.num_classes = 4
    with pytest.raises(TypeError, match='the teacher cannot teach: .*Linear'):
        TrainedNetwork(KD(teacher), tiny_classifier())


def test_a_cascade_is_not_taught_by_a_teacher_of_one_stage():
    model, teacher = lively(tiny_cascade), lively(tiny_faster_rcnn)
    attached(model, KD(teacher))
    data = model.data_preprocessor(detection_batch(labels=(0, 1, 2)), True)
    with pytest.raises(ValueError, match='3 stages .* and the teacher in 1'):
        model(**data, mode='loss')
