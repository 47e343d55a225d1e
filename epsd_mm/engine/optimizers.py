"""The optimisers that train a runner's model."""

from mmengine.optim import ApexOptimWrapper, OptimWrapper, OptimWrapperDict
from torch.optim import Optimizer


def optimizers_of(wrapper: OptimWrapper | OptimWrapperDict) -> list[Optimizer]:
    """What a wrapper wraps.

    Raises:
        ValueError: It trains copies of the weights, which have no masks.
    """
    wrappers = wrappers_of(wrapper)
    for each in wrappers:
        _refuse_master_weights(each)
    return [each.optimizer for each in wrappers]


def wrappers_of(
    wrapper: OptimWrapper | OptimWrapperDict,
) -> list[OptimWrapper]:
    """The wrappers of one optimiser each, of which a wrapper may be many."""
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.optim_wrappers.values())
    return [wrapper]


def _refuse_master_weights(wrapper: OptimWrapper) -> None:
    if not isinstance(wrapper, ApexOptimWrapper) or not wrapper.enabled:
        return
    implied = wrapper.opt_level == 'O2' and wrapper.master_weights is None
    if wrapper.master_weights or implied:
        raise ValueError(
            f'ApexOptimWrapper with opt_level={wrapper.opt_level!r} trains '
            'float32 copies of the weights and writes them back after each '
            'step, so that removed weights would come back: set '
            "optim_wrapper.type='AmpOptimWrapper', or opt_level='O1'"
        )
