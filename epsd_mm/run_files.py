"""Where a run leaves what it has scored and trained, as its folder has it."""

from pathlib import Path

MASKS = 'epsd/masks.pth'
REPORT = 'epsd/report.json'
PREDICTIONS = 'predictions.npz'
LAST = 'last_checkpoint'


def last_checkpoint(folder: Path) -> Path | None:
    """The latest one of a run.

    It is in the folder, wherever that was when it ran, or where the run has
    put its checkpoints (``out_dir`` of the hook that saves them). It is never
    in the folder of another run, of which this one may be a copy: what was
    trained there since is not of this run.

    Args:
        folder: Of the run.
    """
    try:
        written = Path((folder / LAST).read_text().strip())
    except OSError:
        return None
    own = folder / written.name
    if own.is_file():
        return own
    of_another = (written.parent / LAST).exists()
    return written if written.is_file() and not of_another else None
