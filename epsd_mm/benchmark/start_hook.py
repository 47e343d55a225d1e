"""A cell trains from the weights that its config says, or not at all."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.fitting_state import fitting_state
from epsd_mm.training import StartError


class StartHook(Hook):
    """Lets no step be made before weights were loaded.

    A result of other weights would look like any other.

    Args:
        whole: Of all layers; else of those that fit, as mmengine loads them.
    """

    priority = 'LOWEST'

    def __init__(self, whole: bool) -> None:
        self._whole, self._has_loaded = whole, False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Know that weights are there, of the right network.

        Raises:
            CheckpointError: Some layers would keep their initial weights.
        """
        self._has_loaded = True
        if self._whole:
            origin = str(runner._load_from)
            fitting_state(unwrapped(runner), checkpoint, origin)

    def before_train(self, runner: Runner) -> None:
        """Refuse to begin at the initial weights.

        Raises:
            StartError: Nothing was loaded.
        """
        if not self._has_loaded:
            raise StartError(
                'this cell starts from trained weights, and none were loaded '
                f'in {runner.work_dir}: remove that folder and run it again'
            )
