"""Masks that a policy changes in the training of a runner."""

import math
from collections.abc import Collection
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from epsd_mm.analysis import write_masks
from epsd_mm.policies import MaskUpdates, Update
from epsd_mm.pruning import MaskKeeper, prunable_parameters
from epsd_mm.pruning.search import check_room

from .checks import unwrapped
from .optimizers import optimizers_of, wrappers_of
from .settings import Settings


class ChangingMasks:
    """Lets the policy of some settings change masks from now on.

    Each change is logged, and ``epsd/masks.pth`` has the masks of the newest
    checkpoint.

    Args:
        runner: About to train.
        settings: With a policy.
        keeper: Of the masks in force; it watches the optimiser already.
        left_dense: Layers that nothing ranked, and that have no masks.
        state: Of the policy in a checkpoint to resume; None at a start.

    Raises:
        ValueError: The training is too short, has several optimisers, or is
            not the one of the checkpoint.
    """

    def __init__(
        self,
        runner: Runner,
        settings: Settings,
        keeper: MaskKeeper,
        left_dense: Collection[str],
        state: dict | None,
    ) -> None:
        self._keeper = keeper
        self._logger = runner.logger
        # A resumed run may find those of a later checkpoint, or none.
        self._written = keeper.masks if state is None else None
        self._seen = keeper.masks
        params = unwrapped(runner).named_parameters()
        covered = {*keeper.masks, *left_dense}
        target = settings.target({n: p for n, p in params if n in covered})
        self._updates = MaskUpdates(
            keeper,
            settings.policy,
            _one_optimizer(runner, settings),
            total=steps_of(runner),
            target=target.without(left_dense),
            seed=runner.seed if settings.seed is None else settings.seed,
            averages=averages_of(runner),
            on_update=self._tell,
            allow_empty_layers=settings.allow_empty_layers,
        )
        if state is not None:
            self._updates.load_state_dict(state)

    def after_iter(self, runner: Runner) -> bool:
        """To be called after each batch; whether it has changed masks."""
        (wrapper,) = wrappers_of(runner.optim_wrapper)
        if wrapper.should_update():
            self._updates.discard()
        before, self._seen = self._seen, self._keeper.masks
        return self._seen is not before

    def save(self, runner: Runner) -> dict:
        """Write the masks in force; what a checkpoint needs besides them."""
        masks = self._keeper.masks
        if masks is not self._written and is_main_process():
            written = write_masks(Path(runner.work_dir) / 'epsd', masks)
            for problem in written.problems:
                self._logger.warning(problem)
        self._written = masks
        return self._updates.state_dict()

    def finish(self) -> None:
        """Let go of the optimiser; tell where the target was not reached."""
        self._updates.release()
        if said := self._updates.shortfall():
            self._logger.warning(said)

    def _tell(self, update: Update) -> None:
        if update.skipped:
            self._logger.warning(str(update))
        else:
            self._logger.info(str(update))


def check_changes(runner: Runner, settings: Settings) -> None:
    """Raise where a training is not one that a policy can change masks in.

    Raises:
        ValueError: It is too short, has several optimisers, or its weights
            cannot be pruned as the settings ask.
    """
    if settings.changes:
        _one_optimizer(runner, settings)
        settings.policy.check_total(steps_of(runner))
        check_reachable(settings, unwrapped(runner))


def check_reachable(settings: Settings, model: nn.Module) -> None:
    """Raise where the masks that are asked for cannot be, however it trains.

    Args:
        settings: With a sparsity of single weights.
        model: Its weights are looked at for their shapes.

    Raises:
        ValueError: The sparsity cannot be reached, or leaves nothing of a
            layer.
    """
    prunable = prunable_parameters(model, settings.include, settings.exclude)
    target = settings.target(prunable)
    target.check()
    if settings.zero_layers == 'error':
        check_room(target, settings.allow_empty_layers)


def steps_of(runner: Runner) -> int:
    """Steps of the optimiser in all of a training."""
    wrapper = wrappers_of(runner.optim_wrapper)[0]
    batches = getattr(wrapper, '_accumulative_counts', 1)
    return math.ceil(runner.max_iters / batches)


def averages_of(runner: Runner) -> list[nn.Module]:
    """Averages of the weights that hooks of mmengine keep."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return [hook.ema_model.module for hook in hooks]


def _one_optimizer(runner: Runner, settings: Settings) -> Optimizer:
    optimizers = optimizers_of(runner.optim_wrapper)
    if len(optimizers) > 1:
        raise ValueError(
            f'policy={type(settings.policy).__name__} counts the steps of one '
            f'optimiser, and this training has {len(optimizers)}: train with '
            'one, or without a policy'
        )
    return optimizers[0]
