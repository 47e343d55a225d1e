"""Makes a store anew from the folders of the cells."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from .result_file import take_result
from .store import Store, StoreError, still_running, this_process
from .suite_folder import ERROR, SPEC, STORE


@dataclass(frozen=True)
class Rebuilt:
    """What a store knows again.

    Attributes:
        cells: Number of all.
        finished: Those with a result.
        failed: Those that had failed.
        aside: Where the files are that were there before.
    """

    cells: int
    finished: int
    failed: int
    aside: list[Path]


def rebuild(folder: Path) -> Rebuilt:
    """Set the store of a suite aside, and make one from what its cells left.

    Nothing is deleted, and no cell runs.

    Args:
        folder: Of the suite.

    Raises:
        StoreError: Cells run.
        FileNotFoundError: There are no cells.
    """
    if not any((folder / 'cells').glob(f'*/{SPEC}')):
        raise FileNotFoundError(
            f'{folder} holds no cells to make a store from: name the '
            f'--work-dir that the suite ran in; where its results were '
            f'imported, remove {folder / STORE} and import them again'
        )
    _refuse_while_running(folder / STORE)
    aside = _set_aside(folder)
    store, counts = Store(folder / STORE), dict(finished=0, failed=0)
    cells = [_cell(path) for path in sorted(folder.glob(f'cells/*/{SPEC}'))]
    cells = [cell for cell in cells if cell is not None]
    store.add(cells)
    for key, _, _ in cells:
        work_dir = folder / 'cells' / key
        if take_result(store, key, work_dir):
            counts['finished'] += 1
        elif (work_dir / ERROR).is_file():
            store.claim([key], this_process())
            error = (work_dir / ERROR).read_text(errors='replace')
            store.fail(key, this_process(), error)
            counts['failed'] += 1
    return Rebuilt(len(cells), **counts, aside=aside)


def _cell(path: Path) -> tuple[str, str, dict] | None:
    """Key, name and spec; None where a kill left no whole file."""
    try:
        spec = json.loads(path.read_text())
        key, name = spec.pop('key'), spec.pop('name')
        spec.pop('rewinds', None)
    except (OSError, AttributeError, KeyError, ValueError):
        return None
    return (key, name, spec) if key == path.parent.name else None


def _refuse_while_running(path: Path) -> None:
    try:
        entries = Store.existing(path, copied=True).entries().values()
    except StoreError:  # absent or damaged: why it is made anew
        return
    if running := still_running(entries):
        raise StoreError(
            f'this store has running cells ({len(running)}, such as '
            f'{running[0].name!r} by {running[0].owner}): stop what runs '
            'them first'
        )


def _set_aside(folder: Path) -> list[Path]:
    stamp = time.strftime('%Y%m%d_%H%M%S')
    moved = []
    for path in sorted(folder.glob(f'{STORE}*')):
        ending = path.name[len(STORE) :]
        if ending in ('', '-wal', '-shm'):
            target = folder / f'store.aside_{stamp}.sqlite{ending}'
            moved.append(path.rename(target))
    return moved
