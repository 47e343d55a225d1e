"""Let a run that is resumed end as if it had not been interrupted."""

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner

from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning.objective import RandomState

from .revival_hook import RevivalHook


class ResumableHook(RevivalHook):
    """Keeps the state of the random generators, which mmengine does not.

    A run then ends alike whether or not it was resumed in between, unless
    workers that live through all of it draw augmentations.
    """

    _resumed: SavedState | None = None
    _before_validation: RandomState | None = None

    def go_on_with_randomness(self, runner: Runner) -> None:
        """Draw what the run would have drawn that the checkpoint is of.

        One written amid an epoch warns: the loop has no way back into it.
        """
        if self._resumed:
            _warn_amid_epoch(runner)
            _tell_of_workers(runner)
        state = self._resumed and self._resumed.random_state
        if state and get_world_size() == 1:
            state.restore()

    def before_val_epoch(self, runner: Runner) -> None:
        """Remember the random state."""
        self._before_validation = RandomState.capture()

    def after_val_epoch(
        self, runner: Runner, metrics: dict | None = None
    ) -> None:
        """Go on as if there had been no validation."""
        if self._before_validation:
            self._before_validation.restore()


def _warn_amid_epoch(runner: Runner) -> None:
    """Say where an epoch is trained again that had begun."""
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        return
    length = len(loop.dataloader)
    done = loop.iter - loop.epoch * length
    if 0 < done <= length:
        runner.logger.warning(
            f'the checkpoint was written after {done} of {length} batches of '
            f'epoch {loop.epoch + 1}, which begins anew: the training makes '
            f'{done} iterations more than the {loop.max_iters} of its '
            'schedule, and ends otherwise than one without interruption; '
            'resume from the end of an epoch (CheckpointHook with '
            'by_epoch=True), or train by iterations (IterBasedTrainLoop)'
        )


def _tell_of_workers(runner: Runner) -> None:
    """Say where augmentations are drawn whose random state is lost.

    Workers that begin with each epoch are seeded anew there, by mmengine.
    """
    loop = runner.train_loop
    workers = getattr(loop.dataloader, 'num_workers', 0)
    by_epochs = isinstance(loop, EpochBasedTrainLoop)
    if workers and (loop.dataloader.persistent_workers or not by_epochs):
        runner.logger.info(
            f'the workers of train_dataloader (num_workers={workers}) draw '
            'random augmentations from their beginning: this training is as '
            'good as one without interruption, but does not end with the '
            'same bits (with num_workers=0, or by epochs with '
            'persistent_workers=False, it does)'
        )
