"""Keeps what the last evaluation of a cell predicted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from epsd_mm.evaluation.predictions import PredictionReader
from epsd_mm.run_files import PREDICTIONS


class PredictionsHook(Hook):
    """Writes :class:`~epsd_mm.evaluation.Predictions` to a file.

    A task that has none, or a test set without labels, is no reason for a
    cell to fail: the log says why there is no file.
    """

    # Before the log has the evaluation: a cell that has it there is over.
    priority = 'NORMAL'

    def __init__(self) -> None:
        self._reader: PredictionReader | None = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Look at the last evaluation alone."""
        self._reader = PredictionReader() if _is_last(runner) else None

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Take what was predicted of a batch."""
        if self._reader is None:
            return
        try:
            for sample in outputs:
                self._reader.add(sample.to_dict())
        except (AttributeError, ValueError) as error:
            runner.logger.info(f'no {PREDICTIONS} is kept: {error}')
            self._reader = None

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Write the file."""
        if self._reader is not None:
            path = Path(runner.work_dir) / PREDICTIONS
            self._reader.result().save(path)


def _is_last(runner: Runner) -> bool:
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return runner.iter >= runner.max_iters
    return runner.epoch >= runner.max_epochs
