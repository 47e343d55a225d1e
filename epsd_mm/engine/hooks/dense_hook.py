"""Keep a dense run apart from a pruned one."""

from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .revival_hook import RevivalHook
from .training_data_hook import TrainingDataHook


@HOOKS.register_module()
class DenseHook(RevivalHook):
    """Refuses what the pruned runs refuse that a dense one is compared with.

    Bad training data, that is, and a pruned checkpoint to resume, whose
    zeros would grow again. Where they do so after ``load_from``, it says
    how many. Damaged images are skipped as there.

    Args:
        bad_boxes: ``'error'``, or ``'drop'`` to train a detector without
            boxes that it cannot be trained on.
    """

    def __init__(self, bad_boxes: str = 'error') -> None:
        self._data = TrainingDataHook(bad_boxes=bad_boxes)

    def before_train(self, runner: Runner) -> None:
        """Look at the training data, and at where training starts."""
        self._data.prepare(runner)
        super().before_train(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look for masks or a teacher in a checkpoint to resume."""
        if runner._resume and 'epsd' in checkpoint:
            raise ValueError(
                'the checkpoint to resume belongs to a run with EPSDHook, '
                'but this one is dense: resume with the config and variant '
                'it was trained with, or take its weights with load_from'
            )
        super().after_load_checkpoint(runner, checkpoint)
