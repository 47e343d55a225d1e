"""What a cell has saved of its own training."""

import re
from pathlib import Path

from epsd_mm.run_files import last_checkpoint

_NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')


def steps_saved(work_dir: Path, unit: str) -> list[int]:
    """The steps whose checkpoints are in the folder of a cell.

    Args:
        work_dir: Of the cell.
        unit: What its training counts, ``'epoch'`` or ``'iter'``.
    """
    paths = {*work_dir.glob('*.pth'), last_checkpoint(work_dir)} - {None}
    found = (_NAME.fullmatch(path.name) for path in paths)
    return sorted(int(m[2]) for m in found if m and m[1] == unit)


def can_resume(work_dir: Path) -> bool:
    """Whether a training in a folder has saved a checkpoint that is there.

    Masks that it starts from are none, and the best is not its last.

    Args:
        work_dir: Of the cell.
    """
    if any(steps_saved(work_dir, unit) for unit in ('epoch', 'iter')):
        return True
    return last_checkpoint(work_dir) is not None
