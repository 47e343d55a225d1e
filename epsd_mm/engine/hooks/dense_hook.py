"""Keep a dense run apart from a pruned one."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class DenseHook(Hook):
    """Refuses to resume a pruned checkpoint, whose zeros would grow again."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look for masks or a teacher in a checkpoint to resume."""
        if runner._resume and 'epsd' in checkpoint:
            raise ValueError(
                'the checkpoint to resume belongs to a run with EPSDHook, '
                'but this one is dense: resume with the config and variant '
                'it was trained with, or take its weights with load_from'
            )
