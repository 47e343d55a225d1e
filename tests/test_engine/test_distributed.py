"""Scoring and training in several processes."""

from pathlib import Path

import mmengine.dist as dist
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.distillation import Observation
from epsd_mm.distillation.teachers import History
from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.scoring_job import score_model
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks
from epsd_mm.structure import Channels
from tests.helpers.datasets import picture_folder
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
)
from tests.helpers.processes import distributed, join, together
from tests.helpers.runners import (
    CLASSES,
    EPSD,
    hook_of,
    prepared,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)
from tests.helpers.small_runs import Noise, small_runner
from tests.helpers.stock import stock
from tests.helpers.taps import answers_of
from tests.helpers.voc_ap import read_objects

# The first to run waits until everything is imported once more.
pytestmark = pytest.mark.slow


def left_by(runner):
    """What training leaves in a process."""
    hook = hook_of(runner)
    return dict(
        masks=hook.masks and hook.masks.pack(),
        state=runner.model.module.state_dict(),
        teacher=hook._distillation.teacher.state_dict(),
    )


def read(folder, run=''):
    """What the two processes of a group have left."""
    return [
        torch.load(folder / f'{run}{rank}.pth', weights_only=True)
        for rank in (0, 1)
    ]


def assert_alike(first, second):
    """What two processes have left, but for statistics of batches.

    Each process normalises by statistics of its own.
    """
    for part in ('state', 'teacher'):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            other = second[part][name]
            if not isinstance(value, torch.Tensor):
                assert value == other
            elif 'running' not in name:
                assert torch.equal(value, other)


def train(rank, port, data_root, folder):
    """One process of a distributed run; it leaves its masks and weights."""
    join(rank, port, 2)
    cfg = tiny_detector_cfg(data_root, folder / f'{rank}', three_draws())
    cfg.work_dir = str(folder / 'run')
    runner = distributed(cfg)
    runner.train()
    torch.save(left_by(runner), folder / f'{rank}.pth')


def three_draws():
    """Two of which the first process makes."""
    return dict(EPSD, draws=3)


def test_two_processes_have_the_masks_of_one_and_train_alike(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=12, test=2, size=64, classes=CLASSES
    )
    alone = prepared(
        tiny_detector_cfg(data_root, tmp_path / 'alone', three_draws())
    )
    hook_of(alone).before_train(alone)
    together(train, 2, data_root, tmp_path)
    first, second = read(tmp_path)
    masks = Masks.unpack(first['masks'])
    assert masks == Masks.unpack(second['masks'])
    assert masks == hook_of(alone).masks
    for name, mask in masks.items():
        assert not first['state'][name][~mask].any()
        assert torch.equal(first['state'][name], second['state'][name])
    assert (tmp_path / 'run' / 'epsd' / 'report.json').exists()


# Uneven numbers of draws, of which some processes make none.
SCORERS = dict(
    one_shot=dict(EPSD, draws=5),
    in_rounds=dict(
        type='EPSDHook',
        sparsity=0.8,
        criterion=dict(type='IterSNIP', rounds=2),
        draws=3,
        allocation=dict(type='global', min_density=0.05),
        # Its branches start cut off: see masks_of.
        zero_layers='dense',
    ),
)


def masks_of(options, data_root, folder):
    cfg = tiny_detector_cfg(data_root, folder, options)
    cfg.model.backbone.zero_init_residual = 'zero_layers' in options
    runner = prepared(cfg)
    hook = hook_of(runner)
    hook.before_train(runner)
    return hook.masks


def score(rank, port, data_root, folder):
    """One process of a group that scores; it leaves its masks."""
    join(rank, port, 4)
    for name, options in SCORERS.items():
        masks = masks_of(options, data_root, folder / f'{name}-{rank}')
        masks.save(folder / f'{name}-{rank}.pth')


def test_four_processes_have_the_masks_of_one(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=12, test=2, size=64, classes=CLASSES
    )
    together(score, 4, data_root, tmp_path)
    for name, options in SCORERS.items():
        alone = masks_of(options, data_root, tmp_path / name)
        for rank in range(4):
            assert Masks.load(tmp_path / f'{name}-{rank}.pth') == alone


LEARNERS = dict(PSKDLoss=None, DLBLoss='OverlapBatchSampler')


def learner_cfg(loss, pictures, folder):
    options = dict(
        type='EPSDHook',
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        sd_loss=dict(type=loss),
        draws=3,
        allow_empty_layers=True,
    )
    return tiny_classifier_cfg(pictures, folder, options, 2, LEARNERS[loss])


def learn(rank, port, pictures, folder):
    """One process of two that train; it leaves masks, weights, memory."""
    join(rank, port, 2)
    for loss in LEARNERS:
        cfg = learner_cfg(loss, pictures, folder / f'{loss}-{rank}')
        runner = distributed(cfg)
        runner.train()
        torch.save(left_by(runner), folder / f'{loss}-{rank}.pth')


def test_what_one_process_sees_every_teacher_remembers(tmp_path):
    """12 pictures a rank and epoch, another half of the 24 each time."""
    pictures = picture_folder(tmp_path / 'pictures')
    together(learn, 2, pictures, tmp_path)
    remembered = {}
    for loss in LEARNERS:
        alone = prepared(learner_cfg(loss, pictures, tmp_path / loss))
        hook_of(alone).before_train(alone)
        first, second = read(tmp_path, f'{loss}-')
        for left in (first, second):
            assert Masks.unpack(left['masks']) == hook_of(alone).masks
        assert_alike(first, second)
        remembered[loss] = first['teacher']
    assert len(remembered['PSKDLoss']['digests']) == 24
    assert len(remembered['DLBLoss']['keys']) == 2 * 4


class Witness(Hook):
    """Writes down what this process sees and recalls, step by step."""

    priority = 'HIGHEST'

    def __init__(self):
        self.steps = []

    def before_train_epoch(self, runner):
        if not self.steps:
            self.answers = answers_of(hook_of(runner)._distillation.teacher)

    def after_train_iter(self, runner, *args, **kwargs):
        seen = hook_of(runner)._distillation.observed
        self.steps.append(
            dict(
                keys=seen.keys,
                rows=seen.logits.softmax(dim=1),
                found=self.answers[-1][1],
            )
        )


def learn_objects(rank, port, data_root, folder):
    """One process of two, an image at a time; it leaves what it saw too."""
    join(rank, port, 2)
    options = dict(
        type='EPSDHook',
        sparsity=0,
        criterion=None,
        sd_loss=dict(type='PSKDLoss'),
    )
    cfg = tiny_detector_cfg(data_root, folder / f'{rank}', options, epochs=2)
    # In which the processes exchange images after an epoch.
    cfg.randomness = dict(seed=1)
    cfg.train_dataloader.batch_size = 1
    cfg.train_dataloader.batch_sampler = dict(type='AspectRatioBatchSampler')
    # Room for every object, which is among its own proposals.
    cfg.model.train_cfg.rcnn.sampler.num = 256
    runner = distributed(cfg)
    witness = Witness()
    runner.register_hook(witness)
    runner.train()
    left = dict(left_by(runner), steps=witness.steps)
    torch.save(left, folder / f'{rank}.pth')


def nothing_but_difficult(annotation):
    """Leave no object of an image to be learnt."""
    text = annotation.read_text()
    text = text.replace('<difficult>0', '<difficult>1')
    annotation.write_text(text)


def test_objects_that_one_process_sees_every_teacher_remembers(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=6, test=1, size=64, classes=CLASSES
    )
    folder = data_root / 'VOC2007'
    names = (folder / 'ImageSets/Main/trainval.txt').read_text().split()
    files = [folder / f'Annotations/{name}.xml' for name in names]
    nothing_but_difficult(files[3])
    together(learn_objects, 2, data_root, tmp_path)
    first, second = read(tmp_path)
    assert_alike(first, second)

    steps = list(zip(first['steps'], second['steps']))
    assert len(steps) == 2 * 3
    one_has_none = [bool(a['keys']) != bool(b['keys']) for a, b in steps]
    assert sum(one_has_none) == 2
    latest = {}
    for number, step in enumerate(steps):
        for seen in step:
            # In the second epoch, whoever saw it in the first.
            assert (seen['found'] == (number >= 3)).all()
            latest.update(zip(seen['keys'], seen['rows']))
    assert epoch_of(first, 0) != epoch_of(first, 1)
    objects = {
        (file.stem, number, 0)
        for file in files
        for number, each in enumerate(read_objects(file))
        if not each.difficult
    }
    assert {(Path(path).stem, *rest) for path, *rest in latest} == objects

    teacher = History()
    teacher.load_state_dict(first['teacher'])
    assert len(teacher) == len(objects)
    rows = torch.stack(list(latest.values()))
    blank = torch.zeros(len(rows))
    recalled, found = teacher.recall(
        Observation(rows, blank.long(), blank, blank.long(), list(latest))
    )
    assert found.all()
    assert torch.allclose(recalled, rows, atol=1e-3)


def epoch_of(left, epoch):
    """The images that a process saw objects of in an epoch of 3 steps."""
    steps = left['steps'][3 * epoch : 3 * epoch + 3]
    return {path for step in steps for path, *_ in step['keys']}


class Calls:
    """Counts what a process sends to all others, and when."""

    def __init__(self):
        self.iterations = []
        self.gather = dist.all_gather_object

    def watch(self, runner):
        def gather(value):
            self.iterations.append(runner.iter)
            return self.gather(value)

        dist.all_gather_object = gather


LEARNING = dict(type='EPSDHook', sparsity=0, criterion=None)
# 12 pictures a process and epoch, 4 a step, or 2 fresh ones; when they tell.
TOLD = dict(
    PSKDLoss=[0, 3, 3, 6],
    DLBLoss=[6, 12],
)


def still_cfg(loss, pictures, folder, epochs=2):
    """Without flips, whose random numbers a resumed job has not."""
    options = dict(LEARNING, sd_loss=dict(type=loss))
    cfg = tiny_classifier_cfg(
        pictures, folder, options, epochs, LEARNERS[loss]
    )
    del cfg.train_dataloader.dataset.pipeline[1]
    return cfg


def resume(rank, port, pictures, folder):
    """One process of two that train, and train their last epoch again."""
    join(rank, port, 2)
    for loss in LEARNERS:
        calls = Calls()
        whole = distributed(
            still_cfg(loss, pictures, folder / f'{loss}-whole')
        )
        calls.watch(whole)
        whole.train()
        assert calls.iterations == TOLD[loss]
        cfg = still_cfg(loss, pictures, folder / f'{loss}-again')
        cfg.resume = True
        cfg.load_from = str(folder / f'{loss}-whole' / 'epoch_1.pth')
        again = distributed(cfg)
        again.train()
        theirs = dict(again.model.named_parameters())
        for name, weight in whole.model.named_parameters():
            assert torch.equal(weight, theirs[name]), name
        teachers = [
            hook_of(runner)._distillation.teacher.state_dict()
            for runner in (whole, again)
        ]
        assert repr(teachers[0]) == repr(teachers[1])


def test_they_tell_each_other_once_an_epoch_and_resume_as_they_were(tmp_path):
    pictures = picture_folder(tmp_path / 'pictures')
    together(resume, 2, pictures, tmp_path)


def by_iterations(rank, port, pictures, folder):
    """One process of two without epochs."""
    join(rank, port, 2)
    for loss in LEARNERS:
        cfg = still_cfg(loss, pictures, folder / loss)
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=5)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        cfg.default_hooks.checkpoint = dict(
            type='CheckpointHook', by_epoch=False, interval=2
        )
        calls, runner = Calls(), distributed(cfg)
        calls.watch(runner)
        runner.train()
        # A sample may come again at once; DLB compares with its own.
        told = dict(PSKDLoss=[0, 1, 2, 3, 4], DLBLoss=[1, 3, 4])
        assert calls.iterations == told[loss]


def test_without_epochs_no_checkpoint_lacks_what_one_has_seen(tmp_path):
    pictures = picture_folder(tmp_path / 'pictures')
    together(by_iterations, 2, pictures, tmp_path)
    for iteration in (2, 4, 5):
        path = tmp_path / 'DLBLoss' / f'iter_{iteration}.pth'
        saved = torch.load(path, weights_only=False)['epsd']['teacher']
        assert len(saved['keys']) == sum(saved['counts'])
        assert saved['counts'] == [4, 4]
    logs = (tmp_path / 'DLBLoss').glob('*/*.log')
    assert not any('at a moment' in log.read_text() for log in logs)


def masks_of_tood():
    """A detector whose loss averages over all processes, in three draws."""
    settings = Settings.build(
        sparsity=0.5,
        criterion='SNIP',
        draws=3,
        seed=0,
        zero_layers='dense',
        allow_empty_layers=True,
    )
    masks, _ = score_model(
        stock('TOOD'),
        lambda draw: [detection_batch(2, 96, seed=draw)],
        settings,
        MMLogger.get_instance('test'),
    )
    return masks


def channels_of_classifier():
    """Units in place of weights, in three draws."""
    settings = Settings.build(
        sparsity=0.3,
        criterion='SNIP',
        structure=dict(type='channels', multiple_of=1),
        draws=3,
        seed=0,
    )
    channels, _ = score_model(
        tiny_classifier(),
        lambda draw: [classification_batch(seed=draw)],
        settings,
        MMLogger.get_instance('test'),
    )
    return channels


def score_tood(rank, port, folder):
    join(rank, port, 2)
    masks_of_tood().save(folder / f'{rank}.pth')
    channels_of_classifier().save(folder / f'channels_{rank}.pth')


def test_a_loss_that_averages_over_processes_is_scored_as_in_one(tmp_path):
    """And units as weights are."""
    together(score_tood, 2, tmp_path)
    alone, channels = masks_of_tood(), channels_of_classifier()
    for rank in (0, 1):
        assert Masks.load(tmp_path / f'{rank}.pth') == alone
        path = tmp_path / f'channels_{rank}.pth'
        assert Channels.load(path) == channels


MOVES = dict(every=2, fraction=1.0, end=1.0)  # of few weights
CHANGES = dict(
    Gradual=dict(policy=dict(type='Gradual', every=2)),
    SET=dict(policy=dict(MOVES, type='SET'), criterion='Random'),
    RigL=dict(policy=dict(MOVES, type='RigL'), criterion='Random'),
)


class Masked(Hook):
    """The masks after each step."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.masks = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.masks.append(hook_of(runner).masks)


def change(work_dir, policy, batch_size, **options):
    """Masks after 16 steps of four images, and the weights at the end."""
    torch.manual_seed(0)
    loader = dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=Noise(),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=lambda batch: dict(inputs=torch.stack(batch)),
    )
    hook = dict(type='EPSDHook', sparsity=0.5, **CHANGES[policy])
    runner = small_runner(
        work_dir, 8, hook, train_dataloader=loader, **options
    )
    masked = Masked()
    runner.register_hook(masked)
    runner.train()
    return masked.masks, unwrapped(runner).layer.weight.detach()


def change_together(rank, port, folder):
    """One process of two, each of which sees half of every four images."""
    join(rank, port, 2)
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    for policy in CHANGES:
        masks, weight = change(
            folder / policy,
            policy,
            2,
            launcher='pytorch',
            cfg=Config(dict(model_wrapper_cfg=wrapper)),
        )
        left = dict(masks=[each.pack() for each in masks], weight=weight)
        torch.save(left, folder / f'{policy}-{rank}.pth')


def test_masks_change_in_two_processes_as_in_one(tmp_path):
    together(change_together, 2, tmp_path)
    for policy in CHANGES:
        masks, weight = change(tmp_path / f'{policy}-alone', policy, 4)
        assert len(masks) == 16 and len({m.digest for m in masks}) > 3
        for left in read(tmp_path, f'{policy}-'):
            assert [Masks.unpack(each) for each in left['masks']] == masks
            torch.testing.assert_close(left['weight'], weight)
        saved = tmp_path / policy / 'epsd' / 'masks.pth'
        assert Masks.load(saved) == masks[-1]
