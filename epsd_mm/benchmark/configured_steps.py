"""How long a training is, as far as its config tells."""

import math

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from epsd_mm.config_types import scope_of, type_name
from epsd_mm.earlier_runs import training_length

_LOOPS = ('', 'EpochBasedTrainLoop', 'IterBasedTrainLoop')


def configured_steps(cfg: Config, read_data: bool) -> int | None:
    """Steps that the optimiser of one process makes in all of a training.

    Args:
        cfg: A config.
        read_data: Whether the training set may be read: an epoch is as long
            as it is.

    Returns:
        None where the training set would have to be read and is not there,
        or where loop or optimisers are not mmengine's usual ones.
    """
    wrapper = cfg.optim_wrapper
    if type_name(cfg.train_cfg) not in _LOOPS or 'optimizer' not in wrapper:
        return None
    unit, length = training_length(cfg)
    if unit == 'epoch':
        batches = _batches(cfg) if read_data else None
        if batches is None:
            return None
        length *= batches
    return math.ceil(length / wrapper.get('accumulative_counts', 1))


def _batches(cfg: Config) -> int | None:
    """Of an epoch, as the loader counts them: no image is read for that."""
    try:
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            return len(Runner.build_dataloader(cfg.train_dataloader))
    except OSError:
        return None
