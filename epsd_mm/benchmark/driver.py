"""Runs the cells of a suite that are not finished yet."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path

from epsd_mm.files import atomic_write

from .cell import LOG, RESULT, SPEC
from .executors import Executor, Job
from .store import Entry, Store, StoreError, dead_owners, this_process
from .suite import Cell, Suite

_HEARTBEAT = 20.0  # seconds
_LOOK = 1.0


class Driver:
    """One process that runs cells; several may share a suite.

    Cells are claimed one by one as there is room, so that drivers on
    several machines with one store share them out.

    Args:
        suite: What to run.
        folder: Holds the store and the work dirs of the cells.
    """

    def __init__(self, suite: Suite, folder: str | Path) -> None:
        self.suite = suite
        self.folder = Path(folder)
        self.store = Store(self.folder / 'store.sqlite')
        self.owner = this_process()
        self._running: dict[Future, Cell] = {}

    def run(
        self,
        executor: Executor,
        jobs: int,
        watch: Callable[[], None] = lambda: None,
        retry: bool = False,
    ) -> None:
        """Run what is not finished, to its end.

        Args:
            executor: Where.
            jobs: Cells that are given to it at a time.
            watch: Called about once a second.
            retry: Run failed cells again.
        """
        cells = {cell.key: cell for cell in self.suite.cells}
        self.store.add((c.key, c.name, c.spec()) for c in cells.values())
        self._take_over_finished(cells)
        if retry:
            self.store.retry(cells)
        with self._beating():
            try:
                while self._fill(cells, executor, jobs) or self._running:
                    done, _ = wait(
                        self._running, _LOOK, return_when=FIRST_COMPLETED
                    )
                    for future in done:
                        self._end(self._running.pop(future), future)
                    watch()
            finally:
                for cell in self._running.values():
                    self.store.release(cell.key, self.owner)

    def _fill(
        self, cells: dict[str, Cell], executor: Executor, jobs: int
    ) -> bool:
        """Claim cells while there is room; whether any was claimed."""
        claimed = False
        while len(self._running) < jobs:
            dead = dead_owners(self.store.entries().values())
            key = self.store.claim(cells, self.owner, dead)
            if key is None:
                break
            self._running[self._submit(cells[key], executor)] = cells[key]
            claimed = True
        return claimed

    def _submit(self, cell: Cell, executor: Executor) -> Future:
        folder = self.work_dir(cell.key)
        folder.mkdir(parents=True, exist_ok=True)
        spec = dict(cell.spec(), key=cell.key, name=cell.name)
        with atomic_write(folder / SPEC) as file:
            file.write(json.dumps(spec, indent=2).encode())
        command = [sys.executable, '-m', 'epsd_mm.benchmark.cell', str(folder)]
        return executor.submit(Job(command, folder / LOG))

    def _end(self, cell: Cell, future: Future) -> None:
        error = future.exception()
        try:
            if error is not None:
                self.store.fail(cell.key, self.owner, str(error))
            else:
                self._finish(cell.key)
        except StoreError:
            # Another driver has it: this one was silent for too long.
            pass

    def _finish(self, key: str) -> None:
        content = json.loads((self.work_dir(key) / RESULT).read_text())
        metrics = {n: (v, unit) for n, (v, unit) in content['metrics'].items()}
        self.store.finish(key, self.owner, metrics, content['environment'])

    def _take_over_finished(self, cells: Iterable[str]) -> None:
        """Rebuild from the work dirs what a lost store knew."""
        for key, entry in self.store.entries().items():
            done = (self.work_dir(key) / RESULT).is_file()
            if key in cells and entry.state == 'waiting' and done:
                if self.store.claim([key], self.owner) == key:
                    self._finish(key)

    def work_dir(self, key: str) -> Path:
        """Where a cell runs."""
        return self.folder / 'cells' / key

    @contextmanager
    def _beating(self):
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(_HEARTBEAT):
                for cell in list(self._running.values()):
                    self.store.heartbeat(cell.key, self.owner)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def stale(suite: Suite, entries: Iterable[Entry]) -> list[Entry]:
    """Cells of the store that the suite, as it is now, does not have."""
    keys = {cell.key for cell in suite.cells}
    return [entry for entry in entries if entry.key not in keys]


def clean(driver: Driver) -> int:
    """Delete stale cells, results and work dirs; returns their number."""
    old = stale(driver.suite, driver.store.entries().values())
    gone = [entry.key for entry in old if entry.state != 'running']
    for key in gone:
        shutil.rmtree(driver.work_dir(key), ignore_errors=True)
    return driver.store.remove(gone)


def seconds_left(entries: Iterable[Entry], jobs: int) -> float | None:
    """A guess at the time that is left, from finished cells; None if none."""
    entries = list(entries)
    spent = [
        e.ended - e.started
        for e in entries
        if e.state == 'finished' and e.started and e.ended
    ]
    if not spent:
        return None
    mean = sum(spent) / len(spent)
    now = time.time()
    left = sum(mean for e in entries if e.state == 'waiting')
    left += sum(
        max(0.0, mean - (now - e.started))
        for e in entries
        if e.state == 'running'
    )
    return left / max(1, jobs)
