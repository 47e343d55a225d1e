"""The three self-distillation methods, in scoring and in training."""

import copy
import json
import shutil

import pytest
import torch
from mmengine.hooks import Hook

from epsd_mm.distillation import CSKDLoss, DLBLoss, PSKDLoss
from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.engine.self_distillation import SelfDistillation
from epsd_mm.pruning import meta_gradient
from tests.helpers.datasets import picture_folder
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
    divergence,
    relative_error,
    unrolled_gradient,
)
from tests.helpers.runners import (
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
)

OVERLAP, PAIRS = 'OverlapBatchSampler', 'ClassPairBatchSampler'
METHODS = [(CSKDLoss, PAIRS), (PSKDLoss, None), (DLBLoss, OVERLAP)]


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """24 pictures of 4 classes."""
    return picture_folder(tmp_path_factory.mktemp('pictures') / 'set')


def epsd(loss, **options):
    return dict(
        dict(
            type='EPSDHook',
            sparsity=0.5,
            criterion=dict(type='ProsPr', steps=2, lr=0.01),
            sd_loss=dict(type=loss.__name__),
            draws=2,
            allow_empty_layers=True,
        ),
        **options,
    )


def overlapping(batches):
    """Pictures 2 t … 2 t + 1, then those of the batch before, other noise."""
    labels = [0, 1, 2, 3, 1, 0, 3, 2, 2, 0]
    result = []
    for t in range(batches):
        own = [2 * t, 2 * t + 1]
        keys = own + ([2 * t - 2, 2 * t - 1] if t else [])
        batch = classification_batch(
            [labels[k] for k in keys], seed=t, keys=keys
        )
        result.append(batch)
    return result


def pixels(model, batch):
    pictures = torch.stack(batch['inputs']).to(model.data_preprocessor.mean)
    return (pictures - model.data_preprocessor.mean) / (
        model.data_preprocessor.std
    )


def keys_and_labels(batch):
    samples = batch['data_samples']
    return [s.sample_idx for s in samples], [int(s.gt_label) for s in samples]


def dlb_losses(model, batches, start, T=3.0, alpha=1.0):
    """Cross-entropy and DLB, step after step: each recalls the last."""
    last = {}

    def observe(theta, batch):
        logits = call(model, theta, pixels(model, batch), mode='tensor')
        keys, labels = keys_and_labels(batch)
        before = dict(last)
        last.clear()
        last.update(zip(keys, logits.detach()))
        chosen = torch.log_softmax(logits, 1)[range(len(labels)), labels]
        shared = [i for i, key in enumerate(keys) if key in before]
        return -chosen.mean(), logits, shared, keys, before

    observe(start, batches[0])

    def step(batch):
        def loss(theta):
            task, logits, shared, keys, before = observe(theta, batch)
            teacher = torch.stack([before[keys[i]] for i in shared])
            kl = divergence(teacher, logits[shared], T)
            return task + alpha * T**2 * kl.mean()

        return loss

    return [step(batch) for batch in batches[1:]]


def ps_kd_losses(model, batches, start, alpha=0.8):
    """Cross-entropy to targets softened by what the first weights say."""

    def step(batch):
        def loss(theta):
            with torch.no_grad():
                first = call(model, start, pixels(model, batch), mode='tensor')
            past = torch.softmax(first, dim=1).half().double()
            past = past / past.sum(dim=1, keepdim=True)
            logits = call(model, theta, pixels(model, batch), mode='tensor')
            _, labels = keys_and_labels(batch)
            y = torch.eye(4, dtype=torch.float64)[labels]
            target = (1 - alpha) * y + alpha * past
            return -(target * torch.log_softmax(logits, 1)).sum(1).mean()

        return loss

    return [step(batch) for batch in batches]


def distilling(model, loss, **weights):
    return ModelObjective(model, SelfDistillation(model, loss), **weights)


@pytest.mark.parametrize(
    'loss, losses', [(DLBLoss(), dlb_losses), (PSKDLoss(), ps_kd_losses)]
)
@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_walk_is_the_unrolled_graph(loss, losses, momentum):
    model = to_float64(tiny_classifier())
    batches = overlapping(5)
    twin = copy.deepcopy(model)
    start = {n: p.detach().clone() for n, p in trainable(twin).items()}
    written = losses(twin, copy.deepcopy(batches), start)
    want = unrolled_gradient(written, trainable(twin), 0.1, momentum)
    objective = distilling(model, loss)
    steps = list(objective.begin(batches))
    assert len(steps) == len(written)
    got = meta_gradient(
        objective,
        trainable(model),
        iter([[batch] for batch in steps]),
        steps=len(steps) - 1,
        lr=0.1,
        momentum=momentum,
    )
    assert relative_error(got.gradient, want) < 1e-9
    assert all(terms['sd'] != 0 for terms in objective.terms)


@pytest.mark.parametrize('loss, sampler', METHODS)
def test_the_term_is_alive_in_every_step_of_scoring(
    loss, sampler, pictures, tmp_path
):
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd(loss), 1, sampler)
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    report = (tmp_path / 'epsd' / 'report.json').read_text()
    terms = json.loads(report)['terms']
    assert len(terms) == 2 * 3
    assert all(abs(step['sd']) > 1e-6 for step in terms)


@pytest.mark.parametrize('loss, sampler', METHODS)
def test_the_term_alone_ranks_the_weights_even_without_inner_steps(
    loss, sampler, pictures, tmp_path
):
    options = epsd(
        loss, criterion='SNIP', score_weights=dict(task=0.0, sd=1.0)
    )
    cfg = tiny_classifier_cfg(pictures, tmp_path, options, 1, sampler)
    runner = prepared(cfg)
    hook_of(runner).before_train(runner)
    assert hook_of(runner).masks.sparsity == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize('loss, sampler', METHODS)
def test_draws_do_not_depend_on_one_another(loss, sampler):
    """Draw 1 scores the same whether or not draw 0 came before."""
    batches = overlapping(4)
    if sampler == PAIRS:
        batches = [classification_batch([0, 1, 0, 1], seed=t) for t in (0, 1)]

    def gradient(objective):
        torch.manual_seed(0)
        steps = [[b] for b in objective.begin(copy.deepcopy(batches))]
        return meta_gradient(
            objective,
            trainable(objective.model),
            iter(steps),
            steps=len(steps) - 1,
            lr=0.1,
        ).gradient

    objective = distilling(to_float64(tiny_classifier()), loss())
    first, second = gradient(objective), gradient(objective)
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_every_objective_of_dlb_sees_the_same_steps():
    model = to_float64(tiny_classifier())
    batches = overlapping(4)
    plain = distilling(model, DLBLoss(), sd=0.0)
    assert list(plain.begin(batches)) == batches[1:]


def test_batches_that_do_not_overlap_are_refused_in_scoring():
    model = tiny_classifier()
    batches = [
        classification_batch(keys=[4 * t + i for i in range(4)])
        for t in range(2)
    ]
    objective = distilling(model, DLBLoss())
    for batch in objective.begin(batches):
        objective.record(trainable(model), batch)
    with pytest.raises(ValueError, match='images of 1 batches.*Overlap'):
        objective.finish()


def test_batches_that_never_overlap_are_refused_at_the_third():
    model = tiny_classifier()
    batches = [classification_batch(keys=[4 * t] * 4) for t in range(4)]
    objective = distilling(model, DLBLoss())
    first, second, third = objective.begin(batches)
    objective.record(trainable(model), first)
    objective.record(trainable(model), second)
    with pytest.raises(ValueError, match='images of 3 batches'):
        objective.record(trainable(model), third)


def test_a_batch_whose_shared_images_were_replaced_is_no_error():
    model = tiny_classifier()
    batches = overlapping(5)
    batches[2] = classification_batch(keys=[96, 97, 98, 99])
    objective = distilling(model, DLBLoss())
    for batch in objective.begin(batches):
        objective.record(trainable(model), batch)
    objective.finish()
    assert objective.terms[1]['sd'] == 0 != objective.terms[0]['sd']


def test_without_inner_steps_ps_kd_ranks_as_the_plain_loss_does():
    """Its gradient by the logits is −α times that of the cross-entropy."""
    batch = classification_batch(seed=3)
    gradients = []
    for weights in (dict(task=1.0, sd=0.0), dict(task=0.0, sd=1.0)):
        model = to_float64(tiny_classifier())
        objective = distilling(model, PSKDLoss(alpha=0.8), **weights)
        found = meta_gradient(
            objective,
            trainable(model),
            iter([[b] for b in objective.begin([batch])]),
            steps=0,
            lr=0.1,
        )
        gradients.append(found.gradient)
    plain, distilled = gradients
    scaled = {name: -0.8 * g for name, g in plain.items()}
    # The history rounds to half precision.
    assert relative_error(distilled, scaled) < 2e-3


def test_masks_that_are_those_of_the_plain_loss_are_warned_of(
    pictures, tmp_path
):
    options = epsd(PSKDLoss, criterion='SNIP')
    for folder, sampler in (('ps_kd', None), ('dlb', OVERLAP)):
        cfg = tiny_classifier_cfg(
            pictures, tmp_path / folder, options, 1, sampler
        )
        runner = prepared(cfg)
        hook_of(runner).before_train(runner)
        (log,) = (tmp_path / folder).glob('*/*.log')
        warned = 'these are the masks of the plain loss' in log.read_text()
        assert warned == (folder == 'ps_kd')
        options = epsd(DLBLoss, criterion='SNIP')


def test_halves_that_are_no_partners_are_refused_in_scoring():
    model = tiny_classifier()
    objective = distilling(model, CSKDLoss())
    with pytest.raises(ValueError, match='only 0 of 2 images.*ClassPair'):
        objective.record(trainable(model), classification_batch())


@pytest.mark.parametrize('loss', [PSKDLoss(), DLBLoss()])
def test_objects_without_numbers_are_refused_by_losses_with_a_past(loss):
    model = tiny_faster_rcnn()
    objective = distilling(model, loss)
    with pytest.raises(TypeError, match='number_objects'):
        for batch in objective.begin([detection_batch()]):
            objective.record(trainable(model), batch)


def test_scoring_with_a_teacher_leaves_no_trace():
    model = scoring_copy(tiny_classifier())
    before = copy.deepcopy(model.state_dict())
    for loss in (DLBLoss(), PSKDLoss()):
        objective = distilling(model, loss)
        for batch in objective.begin(overlapping(3)):
            objective.record(trainable(model), batch)
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


class Killer(Hook):
    """Ends a run after two epochs."""

    def before_train_epoch(self, runner):
        if runner.epoch == 2:
            raise KeyboardInterrupt


class Witness:
    """Writes down what a model is given and says, in training."""

    def __init__(self, runner):
        self.steps = []
        runner.model.register_forward_pre_hook(self._begin, with_kwargs=True)
        runner.model.head.register_forward_hook(self._end)

    def _begin(self, model, args, kwargs):
        self.samples = kwargs.get('data_samples') or args[1]

    def _end(self, head, args, logits):
        labels = [int(s.gt_label) for s in self.samples]
        paths = [s.img_path for s in self.samples]
        self.steps.append((paths, labels, logits.detach().double()))


def logged(runner):
    history, _ = runner.message_hub.get_scalar('train/loss_sd').data
    return history.tolist()


def built(pictures, folder, loss, sampler, epochs, **options):
    cfg = tiny_classifier_cfg(
        pictures, folder, epsd(loss, **options), epochs, sampler
    )
    return cfg, runner_of(cfg)


def test_ps_kd_in_training(pictures, tmp_path):
    """Nothing in the first epoch, then α (t + 1) / T of the difference."""
    dense = dict(criterion=None, sparsity=0.0, draws=None)
    dense |= dict(allow_empty_layers=False)
    _, runner = built(pictures, tmp_path, PSKDLoss, None, 3, **dense)
    witness = Witness(runner)
    runner.train()
    past, want = {}, []
    for index, (paths, labels, logits) in enumerate(witness.steps):
        epoch = index // 6
        alpha = 0.8 * (epoch + 1) / 3
        log_p = torch.log_softmax(logits, dim=1)
        term = 0.0
        for path, label, row in zip(paths, labels, log_p):
            if epoch:
                term += float(row[label] - (past[path] * row).sum()) / 4
            past[path] = row.exp()
        want.append(alpha * term)
    assert len(witness.steps) == 18
    assert want[:6] == [0.0] * 6 and all(want[6:])
    assert logged(runner) == pytest.approx(want, abs=2e-3)


def test_dlb_in_training(pictures, tmp_path):
    """T² KL on what is shared with the step before, across epochs."""
    dense = dict(criterion=None, sparsity=0.0, draws=None)
    dense |= dict(allow_empty_layers=False)
    _, runner = built(pictures, tmp_path, DLBLoss, OVERLAP, 2, **dense)
    witness = Witness(runner)
    runner.train()
    before, want = {}, []
    for paths, _, logits in witness.steps:
        shared = [i for i, path in enumerate(paths) if path in before]
        assert len(shared) >= (2 if before else 0)
        kl = [0.0]
        if shared:
            teacher = torch.stack([before[paths[i]] for i in shared])
            kl = divergence(teacher, logits[shared], 3.0).tolist()
        want.append(9 * sum(kl) / len(kl))
        before = dict(zip(paths, logits))
    assert len(witness.steps) == 24
    assert want[0] == 0 and all(want[1:])
    assert logged(runner) == pytest.approx(want, rel=5e-3)


@pytest.mark.parametrize('loss, sampler', METHODS)
def test_a_resumed_run_ends_as_the_uninterrupted_one(
    loss, sampler, pictures, tmp_path
):
    _, whole = built(pictures, tmp_path / 'whole', loss, sampler, 4)
    whole.train()
    _, first = built(pictures, tmp_path / 'cut', loss, sampler, 4)
    first.register_hook(Killer(), priority='VERY_LOW')
    with pytest.raises(KeyboardInterrupt):
        first.train()
    cfg = tiny_classifier_cfg(
        pictures, tmp_path / 'cut', epsd(loss), 4, sampler
    )
    cfg.resume = True
    second = runner_of(cfg)
    second.train()
    want = whole.model.state_dict()
    got = second.model.state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize('loss, sampler', METHODS[1:])
@pytest.mark.parametrize('older', [False, True], ids=['moved', 'older'])
def test_predictions_are_found_again_after_a_move(
    loss, sampler, older, pictures, tmp_path, monkeypatch
):
    """And those that an older version has kept, where nothing has moved."""
    _, whole = built(pictures, tmp_path / 'whole', loss, sampler, 3)
    whole.train()
    if older:
        monkeypatch.setattr(
            'epsd_mm.datasets.sample_keys._distinguishing', lambda paths: None
        )
    _, first = built(pictures, tmp_path / 'cut', loss, sampler, 3)
    first.register_hook(Killer(), priority='VERY_LOW')
    with pytest.raises(KeyboardInterrupt):
        first.train()
    monkeypatch.undo()
    place = pictures
    if not older:
        place = shutil.copytree(pictures, tmp_path / 'elsewhere' / 'named')
    cfg = tiny_classifier_cfg(place, tmp_path / 'cut', epsd(loss), 3, sampler)
    cfg.resume = True
    second = runner_of(cfg)
    second.train()
    want, got = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want)
    if loss is PSKDLoss:
        assert len(hook_of(second)._distillation.teacher) == 24


def test_older_keys_of_a_set_that_has_moved_are_told_of(
    pictures, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(
            'epsd_mm.datasets.sample_keys._distinguishing', lambda paths: None
        )
        built(pictures, tmp_path / 'run', PSKDLoss, None, 1)[1].train()
    place = shutil.copytree(pictures, tmp_path / 'elsewhere')
    cfg = tiny_classifier_cfg(place, tmp_path / 'run', epsd(PSKDLoss), 2)
    cfg.resume = True
    with pytest.raises(ValueError, match='checkpoints of older versions'):
        runner_of(cfg).train()


def test_resuming_without_a_memory_is_an_error(pictures, tmp_path):
    cfg, runner = built(pictures, tmp_path, PSKDLoss, None, 1)
    runner.train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    # What earlier versions saved has no digest that would tell.
    del checkpoint['epsd']['teacher'], checkpoint['epsd']['digest']
    torch.save(checkpoint, path)
    cfg.resume = True
    with pytest.raises(ValueError, match='remembers no predictions.*PSKDLoss'):
        runner_of(cfg).train()


def test_a_memory_of_another_data_set_is_an_error(pictures, tmp_path):
    _, runner = built(pictures, tmp_path / 'run', PSKDLoss, None, 1)
    runner.train()
    other = picture_folder(tmp_path / 'other', per_class=7)
    cfg = tiny_classifier_cfg(other, tmp_path / 'run', epsd(PSKDLoss), 2)
    cfg.resume = True
    with pytest.raises(ValueError, match='other images.*another data set'):
        runner_of(cfg).train()


@pytest.mark.parametrize(
    'loss, sampler, words',
    [
        (DLBLoss, None, r"batch_sampler=dict\(type='OverlapBatchSampler'"),
        (CSKDLoss, None, r"batch_sampler=dict\(type='ClassPairBatchSampler'"),
        (PSKDLoss, PAIRS, 'PSKDLoss makes no use of that'),
        (None, PAIRS, 'there is no sd_loss'),
        (PSKDLoss, 'OverlapBatchSampler', 'PSKDLoss makes no use of that'),
        (None, 'OverlapBatchSampler', 'there is no sd_loss'),
    ],
)
def test_loaders_that_do_not_fit_are_refused(
    loss, sampler, words, pictures, tmp_path
):
    options = epsd(loss or DLBLoss)
    if loss is None:
        options['sd_loss'] = None
    cfg = tiny_classifier_cfg(pictures, tmp_path, options, 1, sampler)
    runner = prepared(cfg)
    with pytest.raises(ValueError, match=words):
        hook_of(runner).before_train(runner)
    assert not (tmp_path / 'epsd').exists()


def test_a_label_that_the_head_has_no_logit_for_is_named(pictures, tmp_path):
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd(PSKDLoss))
    cfg.model.head.num_classes = 3
    runner = prepared(cfg)
    with pytest.raises(
        ValueError, match='image 18 .* label 3.* num_classes=3'
    ):
        hook_of(runner).before_train(runner)


def test_a_data_set_smaller_than_a_batch_is_named(pictures, tmp_path):
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd(CSKDLoss), 1, PAIRS)
    cfg.train_dataloader.batch_size = 25
    cfg.train_dataloader.batch_sampler.drop_last = True
    runner = prepared(cfg)
    with pytest.raises(ValueError, match='24 images .* no batch of 25'):
        hook_of(runner).before_train(runner)


def test_mixed_images_are_refused_before_scoring(pictures, tmp_path):
    options = epsd(DLBLoss, score_weights=dict(task=1.0, sd=0.0))
    cfg = tiny_classifier_cfg(pictures, tmp_path, options, 1, OVERLAP)
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.2))
    runner = prepared(cfg)
    with pytest.raises(ValueError, match='batch_augments mix.*DLBLoss'):
        hook_of(runner).before_train(runner)


def test_two_images_of_one_key_are_refused(pictures, tmp_path):
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd(PSKDLoss))
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[inner, inner]
    )
    runner = prepared(cfg)
    with pytest.raises(ValueError, match='two images.*class_0'):
        hook_of(runner).before_train(runner)


def test_a_repeated_data_set_repeats_keys_rightly(pictures, tmp_path):
    cfg = tiny_classifier_cfg(pictures, tmp_path, epsd(PSKDLoss))
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', dataset=inner, times=2
    )
    runner = runner_of(cfg)
    runner.train()
    assert len(hook_of(runner)._distillation.teacher) == 24


def test_beside_smoothed_labels_ps_kd_is_never_negative():
    head = dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1))
    model = tiny_classifier(**head)
    objective = distilling(model, PSKDLoss())
    params = trainable(model)
    moved = {n: p.detach() + 0.3 for n, p in params.items()}
    for batch in objective.begin(overlapping(3)):
        objective.record(moved, batch)
    assert all(terms['sd'] > 0 for terms in objective.terms)


@pytest.mark.parametrize(
    'options, weight',
    [
        (dict(), 1.0),
        (dict(loss_weight=0.5), 0.5),
        (dict(use_soft=True), 0.0),
        (dict(use_sigmoid=True), 0.0),
        (dict(class_weight=[1.0, 2.0, 1.0, 1.0]), 0.0),
        (dict(reduction='sum'), 0.0),
        (dict(type='LabelSmoothLoss', label_smooth_val=0.1), 0.0),
    ],
)
def test_plain_cross_entropy_is_told_from_other_losses(options, weight):
    loss = dict(dict(type='CrossEntropyLoss'), **options)
    distillation = SelfDistillation(tiny_classifier(loss=loss), CSKDLoss())
    model = distillation.model
    data = model.data_preprocessor(classification_batch(), True)

    def only_head(inputs, data_samples, mode):
        return model.head(model.extract_feat(inputs))

    _, observed = distillation.observe(only_head, data)
    assert observed.cross_entropy == weight
