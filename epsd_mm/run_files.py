"""Where a run leaves what it has scored and trained, as its folder has it."""

from pathlib import Path

MASKS = 'epsd/masks.pth'
REPORT = 'epsd/report.json'


def last_checkpoint(folder: Path) -> Path | None:
    """The latest one that is there, wherever the folder was when it ran."""
    try:
        name = Path((folder / 'last_checkpoint').read_text().strip()).name
    except OSError:
        return None
    return folder / name if (folder / name).is_file() else None
