"""Batches for scoring, from a loader of its own over the training set."""

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Sampler

from epsd_mm.pruning.objective import preserved_randomness
from epsd_mm.pruning.scoring import draw_seed

from .ranks import undistributed


def scoring_batches(
    runner: Runner, seed: int
) -> Callable[[int], Iterator[Any]]:
    """``batches(r)``: the training batches of draw ``r``.

    The training loader itself is never iterated: its samplers and workers
    keep state. Data set, samplers, batch size and collation are those of the
    config, so that the classes or sources which a sampler balances are
    balanced here too. A draw depends on ``(seed, r)`` alone and is the same
    in every process: no sampler takes a share of it for its rank. A sampler
    whose order does not depend on its seed, so that all draws would be the
    same images, is shuffled.

    Raises:
        TypeError: The runner's training loader or its sampler was not given
            as a config.
    """
    config = _loader_config(runner)
    loader = runner.train_dataloader
    dataset = loader.dataset
    with undistributed():
        template = _sampler(config, dataset, seed)
        ordered = _is_ordered(config, dataset)
        batch_template = _batch_sampler(config, template)

    def batches(draw: int) -> Iterator[Any]:
        seed_of_draw = draw_seed(seed, draw)
        with undistributed():
            sampler = _sampler(config, dataset, seed_of_draw)
            if ordered:
                sampler = _Shuffled(sampler, dataset, seed_of_draw)
        # Batch samplers keep state when they are left half way, and may
        # have looked through the whole data set when they were built.
        same = {id(template): sampler, id(dataset): dataset}
        return _iterate(
            DataLoader(
                dataset,
                batch_sampler=copy.deepcopy(batch_template, same),
                collate_fn=loader.collate_fn,
                # Scoring loads in its own process, where the seed of the
                # draw governs the augmentation too.
                generator=torch.Generator().manual_seed(seed_of_draw),
            )
        )

    return batches


def _iterate(loader: DataLoader) -> Iterator[Any]:
    with undistributed():
        iterator = iter(loader)
    while True:
        try:
            with undistributed():
                batch = next(iterator)
        except StopIteration:
            return
        yield batch


def _loader_config(runner: Runner) -> Mapping:
    config = runner.cfg.get('train_dataloader')
    if not isinstance(config, Mapping):
        raise TypeError(
            'scoring builds a loader of its own from the config, but '
            f'train_dataloader is {type(config).__name__}: give the runner '
            'a config with train_dataloader as a dict'
        )
    for name in ('sampler', 'batch_sampler'):
        given = config.get(name)
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(
                'scoring builds samplers of its own from the config, but '
                f'{name} of train_dataloader is {type(given).__name__}: give '
                f'it as a dict, {name}=dict(type=…)'
            )
    return config


def _sampler(config: Mapping, dataset: Any, seed: int) -> Sampler:
    options = dict(config['sampler'], seed=seed)
    if options.get('shuffle') is False:
        options['shuffle'] = True
    return DATA_SAMPLERS.build(options, default_args=dict(dataset=dataset))


class _Shuffled(Sampler):
    """One pass of a sampler, in the order of a seed."""

    def __init__(self, sampler: Sampler, dataset: Any, seed: int) -> None:
        self.sampler = sampler
        self.dataset = dataset  # batch samplers ask for it
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        indices = list(islice(self.sampler, len(self.sampler)))
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(indices), generator=generator)
        return (indices[place] for place in order.tolist())

    def __len__(self) -> int:
        return len(self.sampler)


def _is_ordered(config: Mapping, dataset: Any) -> bool:
    """Whether a sampler gives the same images first whatever its seed."""
    with preserved_randomness():
        first, other = (
            list(islice(_sampler(config, dataset, seed), _COMPARED))
            for seed in (0, 1)
        )
    return first == other


_COMPARED = 64


def _batch_sampler(config: Mapping, sampler: Sampler) -> BatchSampler:
    options = config.get('batch_sampler')
    size = config['batch_size']
    if options is None:
        return BatchSampler(sampler, size, config.get('drop_last', False))
    return DATA_SAMPLERS.build(
        dict(options), default_args=dict(sampler=sampler, batch_size=size)
    )
