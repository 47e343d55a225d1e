"""What the teachers of a distributed job tell each other, and when."""

import mmengine.dist as dist
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop, Runner

from epsd_mm.datasets.image_table import image_table
from epsd_mm.distillation.teachers import Teacher

# Iterations between two exchanges where a sample comes once an epoch: what
# is sent at once stays small.
INTERVAL = 50


class Exchange:
    """Joins what the processes of a job have seen, as rarely as is right.

    A teacher whose rows are shared is told of the others' before a sample
    can come again: where each comes once an epoch, at its end and every 50
    iterations, elsewhere after each one. Only the first process writes
    checkpoints: just before one, and at the end of each epoch, every
    teacher is told all.

    Args:
        runner: Its loop and its data tell how often a sample comes.
        teacher: Of this process, as every process has one.
    """

    def __init__(self, runner: Runner, teacher: Teacher) -> None:
        self.teacher = teacher
        self.needed = teacher.learns and dist.get_world_size() > 1
        self.pending = False
        self._interval = None
        if self.needed and teacher.shared:
            self._interval = INTERVAL if _once_an_epoch(runner) else 1

    def after_iter(self, runner: Runner, batch_idx: int) -> None:
        """To be called when the teacher has learned from an iteration.

        Batches 0, 50, …: the first holds what a sampler repeats at the end
        of the epoch, for every process to have as many images.
        """
        if not self.needed:
            return
        self.pending = True
        due = self._interval and batch_idx % self._interval == 0
        if due or _may_save(runner):
            self.now()

    def now(self) -> None:
        """Tell the others. Called in every process at once."""
        if self.pending:
            self.teacher.merge(dist.all_gather_object(self.teacher.news()))
        self.pending = False

    def before_save(self, logger: MMLogger) -> None:
        """Say so where a checkpoint lacks what others have seen."""
        if self.pending:
            logger.warning(
                'a checkpoint is written at a moment of which no '
                'CheckpointHook knows: of the predictions since the last '
                'exchange it holds those of the first process alone. Save '
                'after an epoch, or by a CheckpointHook'
            )


def _once_an_epoch(runner: Runner) -> bool:
    """Whether no sample comes twice in an epoch, but for its ends."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return False
    loader = runner.train_dataloader
    sampler = loader.batch_sampler.sampler
    if type(sampler).__name__ != 'DefaultSampler':
        return False
    return len(image_table(loader.dataset).index) == len(loader.dataset)


def _may_save(runner: Runner) -> bool:
    """Whether a checkpoint may be written before the next iteration.

    Those after an epoch are left to its end.
    """
    done, loop = runner.iter + 1, runner.train_loop
    if isinstance(loop, IterBasedTrainLoop):
        # A validation may save the best.
        if any(done % n == 0 for n in loop.dynamic_intervals):
            return True
    return any(
        hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
        or hook.is_last_train_iter(runner)
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook) and not hook.by_epoch
    )
