"""Let a run that is resumed end as if it had not been interrupted."""

from mmengine.dist import get_world_size
from mmengine.runner import Runner

from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning.objective import RandomState

from .revival_hook import RevivalHook


class ResumableHook(RevivalHook):
    """Keeps the state of the random generators, which mmengine does not.

    A run by epochs without worker processes then ends alike whether or not
    it was resumed in between.
    """

    _resumed: SavedState | None = None
    _before_validation: RandomState | None = None

    def go_on_with_randomness(self) -> None:
        """Draw what the run would have drawn that the checkpoint is of."""
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
