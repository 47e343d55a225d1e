"""Batches for scoring, from a loader of its own over the training set."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from epsd_mm.datasets.samplers import UniformSampler
from epsd_mm.pruning.scoring import draw_seed


def scoring_batches(
    runner: Runner, seed: int
) -> Callable[[int], Iterator[Any]]:
    """``batches(r)``: the training batches of draw ``r``.

    The training loader itself is never iterated: its samplers and workers
    keep state. Data set, batch sampler, batch size and collation are those
    of the config; the images come in a uniformly random order that depends
    on ``(seed, r)`` alone and is the same in every process.

    Raises:
        TypeError: The runner's training loader was not given as a config.
    """
    config = runner.cfg.get('train_dataloader')
    if not isinstance(config, dict):
        raise TypeError(
            'scoring builds a loader of its own from the config, but '
            f'train_dataloader is {type(config).__name__}: give the runner '
            'a config with train_dataloader as a dict'
        )
    dataset = runner.train_dataloader.dataset
    config = {k: v for k, v in config.items() if k not in _REPLACED}

    loader = Runner.build_dataloader(
        dict(
            copy.deepcopy(config),
            dataset=dataset,
            sampler=UniformSampler(dataset, seed),
            num_workers=0,
        )
    )

    def batches(draw: int) -> Iterator[Any]:
        seed_of_draw = draw_seed(seed, draw)
        # Batch samplers keep state when they are left half way.
        sampler = copy.deepcopy(
            loader.batch_sampler, {id(loader.dataset): loader.dataset}
        )
        sampler.sampler.seed = seed_of_draw
        return iter(
            DataLoader(
                loader.dataset,
                batch_sampler=sampler,
                collate_fn=loader.collate_fn,
                generator=torch.Generator().manual_seed(seed_of_draw),
            )
        )

    return batches


# What belongs to worker processes; scoring loads in its own, where the
# seed of the draw governs the augmentation too.
_REPLACED = (
    'dataset',
    'sampler',
    'num_workers',
    'persistent_workers',
    'prefetch_factor',
    'pin_memory',
    'multiprocessing_context',
    'timeout',
    'worker_init_fn',
    'num_batch_per_epoch',
)
