"""What the folders of finished cells hold besides their results."""

from functools import cache
from pathlib import Path

from epsd_mm.evaluation import Predictions
from epsd_mm.pruning import Masks
from epsd_mm.results import Log
from epsd_mm.run_files import MASKS, PREDICTIONS

from .comparison import Arm, Comparison


class Folders:
    """Masks, logs and predictions of finished cells, as far as they are there.

    Args:
        comparison: The finished cells.
        cells: Holds the work dir of each cell under its key.
    """

    def __init__(self, comparison: Comparison, cells: str | Path) -> None:
        self._comparison, self._cells = comparison, Path(cells)
        self.masks = cache(self._masks)
        self.predictions = cache(self._predictions)

    def of(self, arm: Arm) -> dict[int, Path]:
        """The work dirs of an arm that are there, by seed."""
        found = {
            cell.seed: self._cells / cell.key
            for cell in self._comparison.cells(arm)
        }
        return {s: folder for s, folder in found.items() if folder.is_dir()}

    def sd_losses(self, arm: Arm, first: int) -> dict[int, dict[int, float]]:
        """The first logged self-distillation terms, by seed and iteration."""
        found = {}
        for seed, folder in self.of(arm).items():
            try:
                lines = Log.of(folder).training
            except FileNotFoundError:
                continue
            lines = [line for line in lines if 'loss_sd' in line][:first]
            if lines:
                found[seed] = {x['step']: x['loss_sd'] for x in lines}
        return found

    def _masks(self, arm: Arm) -> dict[int, Masks]:
        """The masks of an arm, by seed."""
        paths = self._files(arm, MASKS)
        return {seed: Masks.load(path) for seed, path in paths.items()}

    def _predictions(self, arm: Arm) -> dict[int, Predictions]:
        """What was predicted at the end, by seed."""
        paths = self._files(arm, PREDICTIONS)
        return {seed: Predictions.load(path) for seed, path in paths.items()}

    def _files(self, arm: Arm, name: str) -> dict[int, Path]:
        found = {s: f / name for s, f in self.of(arm).items()}
        return {seed: path for seed, path in found.items() if path.is_file()}
