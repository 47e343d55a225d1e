"""Where a run leaves what it has scored and trained, as its folder has it."""

from collections.abc import Iterable
from pathlib import Path

MASKS = 'epsd/masks.pth'
REPORT = 'epsd/report.json'
PREDICTIONS = 'predictions.npz'
LAST = 'last_checkpoint'


def named_checkpoint(folder: Path) -> str | None:
    """What a run's ``last_checkpoint`` says: a path, or an address.

    Args:
        folder: Of the run.
    """
    try:
        name = (folder / LAST).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return None if '\0' in name else name or None


def last_checkpoint(
    folder: Path, elsewhere: Iterable[Path] = ()
) -> Path | None:
    """The file of the latest one of a run.

    It is in the folder, wherever that was when it ran, or where the run has
    put its checkpoints (``out_dir`` of the hook that saves them). It is never
    in the folder of another run, of which this one may be a copy: what was
    trained there since is not of this run.

    Args:
        folder: Of the run.
        elsewhere: Where else it saves, if that is known.
    """
    name = named_checkpoint(folder)
    if name is None or '://' in name:
        return None
    written = Path(name)
    own = [place / written.name for place in (folder, *elsewhere)]
    # Where it was written comes first: the others may have one of that name.
    own.sort(key=lambda path: path.resolve() != written.resolve())
    if not (written.parent / LAST).exists():
        own.append(written)
    return next((path for path in own if path.is_file()), None)
