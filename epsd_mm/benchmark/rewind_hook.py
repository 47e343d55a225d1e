"""Saves the states of a training to which later cells go back."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.files import atomic_write
from epsd_mm.pruning.objective import RandomState
from epsd_mm.run_files import LAST
from epsd_mm.training import StartError

from .own_checkpoints import steps_saved


def rewind_file(work_dir: Path, unit: str, step: int) -> Path:
    """Where the state of a training after a step is.

    Apart from checkpoints, of which only the last stays.

    Args:
        work_dir: Of that training.
        unit: What it counts, ``'epoch'`` or ``'iter'``.
        step: So many of them.
    """
    return work_dir / 'rewind' / f'{unit}_{step}.pth'


class RewindHook(Hook):
    """Saves what a training has come to after some of its steps.

    Weights as they are trained, without an average, and all that decides
    how they would be trained on: optimiser, schedules, steps done and
    random generators.

    Args:
        unit: What the training counts, ``'epoch'`` or ``'iter'``.
        steps: After so many of them.
    """

    priority = 'LOWEST'

    def __init__(self, unit: str, steps: Sequence[int]) -> None:
        self._unit, self._steps = unit, steps

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if this epoch is one of those."""
        if self._unit == 'epoch':
            self._save_at(runner, runner.epoch + 1, runner.iter)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save if this iteration is one of those."""
        if self._unit == 'iter':
            self._save_at(runner, runner.iter + 1, runner.iter + 1)

    def _save_at(self, runner: Runner, step: int, iterations: int) -> None:
        if step not in self._steps:
            return
        epoch = step if self._unit == 'epoch' else runner.epoch
        weights = unwrapped(runner).state_dict()
        state = dict(
            meta=dict(epoch=epoch, iter=iterations),
            state_dict={name: value.cpu() for name, value in weights.items()},
            optimizer=runner.optim_wrapper.state_dict(),
            param_schedulers=[s.state_dict() for s in _schedulers(runner)],
            epsd=SavedState(random_state=RandomState.capture()).pack(),
        )
        file = io.BytesIO()
        torch.save(state, file)
        path = rewind_file(Path(runner.work_dir), self._unit, step)
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as saved:
            saved.write(file.getbuffer())


class RewoundHook(Hook):
    """Lets a training go on from what :class:`RewindHook` has saved.

    From its step, on its schedule, in its order of the data: were no weight
    removed, it would end as the other one has (in a loop of epochs without
    worker processes). What an optimiser remembers of removed weights is
    cleared. Gradients that were added up for a step still to come are not
    kept, as mmengine keeps none in a checkpoint.

    Source: Frankle et al., ICML 2020, who train on from step k; that the
    optimiser's state is the one of step k is our choice.
    """

    priority = 'VERY_HIGH'  # others ask for the steps done as they begin

    def __init__(self) -> None:
        self._state: dict | None = None
        self._random_state: RandomState | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what is not weights, unless the training has begun before.

        Raises:
            StartError: The file has weights alone.
        """
        if runner._resume:
            return
        if 'optimizer' not in checkpoint:
            raise StartError(
                f'{runner._load_from} has weights, and neither the optimiser '
                'nor the schedule to which this cell goes back: remove the '
                'folder of that cell, and run it again'
            )
        self._state = checkpoint
        saved = SavedState.unpack(checkpoint['epsd'])
        self._random_state = saved.random_state

    def before_train(self, runner: Runner) -> None:
        """Go back to the step."""
        if self._state is None:
            return
        runner.optim_wrapper.load_state_dict(self._state['optimizer'])
        saved = self._state['param_schedulers']
        for scheduler, state in zip(_schedulers(runner), saved, strict=True):
            scheduler.load_state_dict(state)
        runner.train_loop._epoch = self._state['meta']['epoch']
        runner.train_loop._iter = self._state['meta']['iter']
        # Which was told where to begin before this: it counts batches.
        runner.optim_wrapper.initialize_count_status(
            runner.model, runner.iter, runner.max_iters
        )
        self._state = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Draw what the other training has drawn, as the first one begins."""
        if self._random_state is not None:
            self._random_state.restore()
            self._random_state = None


def _schedulers(runner: Runner) -> list:
    """All of them, of whatever optimisers there are."""
    found = runner.param_schedulers or []
    if isinstance(found, dict):
        return [each for group in found.values() for each in group]
    return list(found)


def forget_later(work_dir: Path, unit: str, steps: Sequence[int]) -> None:
    """Begin a training again that has passed a step without saving it.

    Args:
        work_dir: Of a run that has not ended.
        unit: What it counts.
        steps: That it shall save.
    """
    reached = max(steps_saved(work_dir, unit), default=0)
    lacks = [
        step
        for step in steps
        if not rewind_file(work_dir, unit, step).is_file()
    ]
    if any(step <= reached for step in lacks):
        for path in work_dir.glob('*.pth'):
            path.unlink()
        (work_dir / LAST).unlink(missing_ok=True)
