"""Scoring and training in several processes."""

import os
import socket

import pytest
import torch
from torch import multiprocessing

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.pruning import Masks
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import (
    CLASSES,
    EPSD,
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def join(rank, port, world):
    """Become one process of a group."""
    os.environ.update(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
    )
    torch.set_num_threads(1)
    # mmengine's own start of a process group wants a GPU.
    torch.distributed.init_process_group('gloo')


def train(rank, port, data_root, folder):
    """One process of a distributed run; it leaves its masks and weights."""
    join(rank, port, 2)
    cfg = tiny_detector_cfg(data_root, folder / f'{rank}', three_draws())
    cfg.work_dir = str(folder / 'run')
    cfg.launcher = 'pytorch'
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', device_ids=None
    )
    runner = runner_of(cfg)
    runner.train()
    state = runner.model.module.state_dict()
    masks = hook_of(runner).masks
    torch.save(dict(masks=masks.pack(), state=state), folder / f'{rank}.pth')


def three_draws():
    """Two of which the first process makes."""
    return dict(EPSD, draws=3)


@pytest.mark.slow
def test_two_processes_have_the_masks_of_one_and_train_alike(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=12, test=2, size=64, classes=CLASSES
    )
    alone = prepared(
        tiny_detector_cfg(data_root, tmp_path / 'alone', three_draws())
    )
    hook_of(alone).before_train(alone)
    multiprocessing.spawn(
        train, args=(free_port(), data_root, tmp_path), nprocs=2
    )
    first, second = (
        torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        for rank in (0, 1)
    )
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
        criterion=dict(type='IterSNIP', rounds=3),
        draws=3,
        allocation=dict(type='global', min_density=0.05),
    ),
)


def masks_of(options, data_root, folder):
    runner = prepared(tiny_detector_cfg(data_root, folder, options))
    hook = hook_of(runner)
    hook.before_train(runner)
    return hook.masks


def score(rank, port, data_root, folder):
    """One process of a group that scores; it leaves its masks."""
    join(rank, port, 4)
    for name, options in SCORERS.items():
        masks = masks_of(options, data_root, folder / f'{name}-{rank}')
        masks.save(folder / f'{name}-{rank}.pth')


@pytest.mark.slow
def test_four_processes_have_the_masks_of_one(tmp_path):
    data_root = generate_voc(
        tmp_path / 'drawn', train=12, test=2, size=64, classes=CLASSES
    )
    multiprocessing.spawn(
        score, args=(free_port(), data_root, tmp_path), nprocs=4
    )
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
        cfg.launcher = 'pytorch'
        cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None
        )
        runner = runner_of(cfg)
        runner.train()
        hook = hook_of(runner)
        left = dict(
            masks=hook.masks.pack(),
            state=runner.model.module.state_dict(),
            teacher=hook._distillation.teacher.state_dict(),
        )
        torch.save(left, folder / f'{loss}-{rank}.pth')


@pytest.mark.slow
def test_what_one_process_sees_every_teacher_remembers(tmp_path):
    """12 pictures a rank and epoch, another half of the 24 each time."""
    pictures = picture_folder(tmp_path / 'pictures')
    multiprocessing.spawn(
        learn, args=(free_port(), pictures, tmp_path), nprocs=2
    )
    remembered = {}
    for loss in LEARNERS:
        alone = prepared(learner_cfg(loss, pictures, tmp_path / loss))
        hook_of(alone).before_train(alone)
        first, second = (
            torch.load(tmp_path / f'{loss}-{rank}.pth', weights_only=True)
            for rank in (0, 1)
        )
        assert Masks.unpack(first['masks']) == hook_of(alone).masks
        for part in ('masks', 'state', 'teacher'):
            assert first[part].keys() == second[part].keys()
        for name, weight in first['state'].items():
            # Each process normalises by statistics of its own batches.
            if 'running' not in name:
                assert torch.equal(weight, second['state'][name])
        for name, value in first['teacher'].items():
            other = second['teacher'][name]
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other)
            else:
                assert value == other
        remembered[loss] = first['teacher']
    assert len(remembered['PSKDLoss']['digests']) == 24
    assert len(remembered['DLBLoss']['keys']) == 2 * 4
