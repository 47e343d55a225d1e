"""What a runner must be like for pruning and self-distillation."""

from mmengine.runner import Runner

from epsd_mm.datasets.samplers import ClassPairBatchSampler
from epsd_mm.distillation.losses import SelfDistillationLoss

_SHARDING = ('FSDP', 'FullyShardedDataParallel', 'DeepSpeed', 'ColossalAI')


def refuse_sharding(runner: Runner) -> None:
    """Raise where weights are cut into pieces before a hook sees them.

    Raises:
        RuntimeError: Names the strategy or wrapper.
    """
    parts = (getattr(runner, 'strategy', None), runner.model)
    parts += (runner.optim_wrapper,)
    for part in parts:
        for base in type(part).__mro__:
            if any(word in base.__name__ for word in _SHARDING):
                raise RuntimeError(
                    f'{type(part).__name__} shards the weights before any '
                    'hook runs, so EPSDHook can neither rank nor mask them: '
                    'train with DistributedDataParallel '
                    '(--launcher pytorch)'
                )


def check_pairs(runner: Runner, loss: SelfDistillationLoss) -> None:
    """Raise where a loss needs partners that the loader does not give.

    Raises:
        ValueError: Gives the line of the config to add.
    """
    if not loss.build_teacher().needs_pairs:
        return
    sampler = runner.train_dataloader.batch_sampler
    if isinstance(sampler, ClassPairBatchSampler):
        return
    base = runner.cfg.get('train_dataloader', {}).get('batch_sampler')
    base = f', base={dict(base)}' if base else ''
    raise ValueError(
        f'{type(loss).__name__} compares each image with a partner of its '
        f'class, but the batches come from {type(sampler).__name__}. Add to '
        'the config: train_dataloader = dict(batch_sampler=dict('
        f"type='ClassPairBatchSampler'{base}))"
    )
