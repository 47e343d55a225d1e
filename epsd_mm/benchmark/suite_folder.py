"""A suite and its folder: what it lists, and what has become of that."""

import shutil
from functools import cached_property
from pathlib import Path

from .store import Entry, Store, still_running

#: The state of all cells.
STORE = 'store.sqlite'
#: In the folder of a cell: what it is, what came out, what it said, and why
#: it failed.
SPEC, RESULT, LOG, ERROR = 'cell.json', 'result.json', 'log.txt', 'error.txt'


class SuiteError(RuntimeError):
    """A suite cannot go on; says what to do. What has finished is kept."""


class SuiteFolder:
    """A suite and the folder of its store and cells; nothing is made here.

    Args:
        suite: Has a ``title`` and ``cells``: a
            :class:`~epsd_mm.benchmark.suite.Suite`, or a
            :class:`~epsd_mm.benchmark.listing.Listing` of one.
        folder: Holds the store and the work dirs of the cells.
    """

    def __init__(self, suite, folder: str | Path) -> None:
        self.suite = suite
        self.folder = Path(folder)

    @cached_property
    def store(self) -> Store:
        """The state of the suite."""
        return Store.existing(self.folder / STORE)

    def work_dir(self, key: str) -> Path:
        """Where a cell runs."""
        return self.folder / 'cells' / key

    @property
    def keys(self) -> set[str]:
        """Those of the cells that the suite has, as it is now."""
        return {cell.key for cell in self.suite.cells}

    def entries(self, *states: str) -> dict[str, Entry]:
        """What the store knows of them, in these states or in any."""
        keys = self.keys
        return {
            key: entry
            for key, entry in self.store.entries().items()
            if key in keys and (not states or entry.state in states)
        }

    def stale(self) -> list[Entry]:
        """Cells of the store that the suite, as it is now, does not have."""
        keys = self.keys
        return [e for k, e in self.store.entries().items() if k not in keys]

    def to_clean(self) -> list[Entry]:
        """Stale cells that do not run: what :meth:`clean` would delete."""
        old = self.stale()
        runs = {entry.key for entry in still_running(old)}
        return [entry for entry in old if entry.key not in runs]

    def clean(self) -> list[Entry]:
        """Delete stale cells, results and work dirs; returns them."""
        gone, store = self.to_clean(), Store(self.folder / STORE)
        for entry in gone:
            shutil.rmtree(self.work_dir(entry.key), ignore_errors=True)
        store.remove(entry.key for entry in gone)
        return gone
