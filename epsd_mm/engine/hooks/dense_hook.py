"""Keep a dense run apart from a pruned one."""

from mmengine.registry import HOOKS
from mmengine.runner import Runner

from epsd_mm.engine.checkpoints import loaded_file_named
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning.objective import RandomState

from .resumable_hook import ResumableHook
from .training_data_hook import TrainingDataHook


@HOOKS.register_module()
class DenseHook(ResumableHook):
    """Does and refuses what the pruned runs do that it is compared with.

    It refuses bad training data, that is, and a pruned checkpoint to
    resume, whose zeros would grow again. Where they do so after
    ``load_from``, it says how many. Damaged images are skipped as there, and
    a resumed run goes on with its random state.

    Args:
        bad_boxes: ``'error'``, or ``'drop'`` to train a detector without
            boxes that it cannot be trained on.
        batch_augments: ``'error'``, which leaves them, or ``'off'``, as in
            the runs that it is compared with.
    """

    def __init__(
        self, bad_boxes: str = 'error', batch_augments: str = 'error'
    ) -> None:
        self._data = TrainingDataHook(
            bad_boxes=bad_boxes, batch_augments=batch_augments
        )

    def before_train(self, runner: Runner) -> None:
        """Look at the training data, and at where training starts."""
        self._data.prepare(runner)
        super().before_train(runner)
        self.go_on_with_randomness(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the random state from a checkpoint of a dense run."""
        if runner._resume:
            with loaded_file_named(runner):
                saved = SavedState.unpack(checkpoint.get('epsd'))
            if saved.identity or saved.masks is not None:
                raise ValueError(
                    'the checkpoint to resume belongs to a run with EPSDHook, '
                    'but this one is dense: resume with the config and '
                    'variant it was trained with, or take its weights with '
                    'load_from'
                )
            self._resumed = saved
        super().after_load_checkpoint(runner, checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the random state into ``checkpoint['epsd']``."""
        state = RandomState.capture()
        checkpoint['epsd'] = SavedState(random_state=state).pack()
