"""Where a run leaves what it has scored and trained, as its folder has it."""

from pathlib import Path

MASKS = 'epsd/masks.pth'
REPORT = 'epsd/report.json'
PREDICTIONS = 'predictions.npz'


def last_checkpoint(folder: Path) -> Path | None:
    """The latest one of a run.

    It is in the folder, wherever that was when it ran, or where the run has
    put its checkpoints (``out_dir`` of the hook that saves them).

    Args:
        folder: Of the run.
    """
    try:
        written = Path((folder / 'last_checkpoint').read_text().strip())
    except OSError:
        return None
    places = folder / written.name, written
    return next((path for path in places if path.is_file()), None)
