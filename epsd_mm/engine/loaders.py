"""Loaders that have to see a training set as it is now."""

from collections.abc import Mapping

from mmengine.runner import Runner

from epsd_mm.config_types import type_name


def check_loader_config(cfg: Mapping) -> None:
    """Say what torch will refuse without naming the line.

    Args:
        cfg: A config (mmengine's ``Config``).

    Raises:
        ValueError: ``drop_last`` stands beside a batch sampler.
    """
    loader = cfg.get('train_dataloader') or {}
    place, sampler = 'batch_sampler', loader.get('batch_sampler')
    if not sampler or not loader.get('drop_last'):
        return
    while sampler.get('base'):
        place, sampler = f'{place}.base', sampler['base']
    raise ValueError(
        'drop_last=True of train_dataloader stands beside '
        f'batch_sampler={type_name(loader["batch_sampler"])}, which makes the '
        'batches: set train_dataloader.drop_last=False and '
        f'train_dataloader.{place}.drop_last=True'
    )


def has_workers(runner: Runner) -> bool:
    """Whether worker processes may hold the training set as it was.

    The iteration loop of mmengine starts them as soon as it is built, in
    most versions.
    """
    iterator = getattr(runner.train_loop, 'dataloader_iterator', None)
    started = getattr(iterator, '_iterator', None) is not None
    return started and runner.train_dataloader.num_workers > 0


def renew_loader(runner: Runner) -> None:
    """Build the training loader anew, over the same data set.

    Samplers then start from their beginning, as they do before training.

    Raises:
        TypeError: The runner's training loader was not given as a config.
    """
    loop, loader = runner.train_loop, runner.train_dataloader
    config = runner.cfg.get('train_dataloader')
    if not isinstance(config, Mapping):
        raise TypeError(
            'the training loader has to be built anew, since samplers or '
            'worker processes saw the training set before it was ready, but '
            f'train_dataloader is {type(config).__name__}: give the runner a '
            'config with train_dataloader as a dict'
        )
    # Of num_batch_per_epoch, which cuts the data set again.
    dataset = getattr(loader.dataset, '_dataset', loader.dataset)
    loop.dataloader = Runner.build_dataloader(
        dict(config, dataset=dataset),
        seed=runner.seed,
        diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
    )
    if hasattr(loop, 'dataloader_iterator'):
        loop.dataloader_iterator = type(loop.dataloader_iterator)(
            loop.dataloader
        )
