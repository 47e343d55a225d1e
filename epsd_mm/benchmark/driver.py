"""Runs the cells of a suite that are not finished yet."""

import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from mmengine.logging import print_log

from epsd_mm.files import write_text

from .claimed import note_claims
from .earlier_cells import taken_in_all
from .executors import Executor
from .export import export_json
from .jobs import BusyJobError, InterruptedJobError, Job, PlaceError
from .listing import write_listing
from .result_file import read_result_file, take_result
from .store import (
    Entry,
    Store,
    StoreError,
    TakenError,
    dead_owners,
    this_process,
)
from .suite import Suite
from .suite_folder import (
    ERROR,
    LOG,
    SPEC,
    STORE,
    SuiteError,
    SuiteFolder,
)
from .suite_parts import Cell
from .waiting import blocked

#: A cell that is killed so often while one driver runs it has failed.
MOST_KILLS = 3
#: Bytes that must be free where a cell begins.
LEAST_FREE = 200 * 2**20
_HOPELESS = 3  # so many first cells that fail alike end a suite
_HEARTBEAT = 20.0  # seconds
_LOOK = 1.0


class Driver(SuiteFolder):
    """One process that runs cells; several of a machine may share a suite.

    Cells are claimed one by one as there is room, so that drivers with one
    store share them out. Other machines are an executor's to reach: only one
    may write the store.

    Args:
        suite: What to run.
        folder: Holds the store and the work dirs of the cells.
    """

    def __init__(self, suite: Suite, folder: str | Path) -> None:
        super().__init__(suite, folder)
        self.owner = this_process()
        self._running: dict[Future, Cell] = {}
        self._kills: Counter[str] = Counter()
        self._busy: set[str] = set()
        self._finished = 0
        self._failures: list[str] = []

    @cached_property
    def _after(self) -> dict[str, list[str]]:
        """By cell, those that must have finished before."""
        return {
            cell.key: [earlier.key for earlier in cell.after]
            for cell in self.suite.cells
        }

    @cached_property
    def store(self) -> Store:
        """The state of the suite; made where there is none."""
        return Store(self.folder / STORE)

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

        Raises:
            SuiteError: It makes no sense to go on.
            StoreError: The store is damaged or cannot be written.
        """
        self.store.check()
        cells = {cell.key: cell for cell in self.suite.cells}
        self.store.add((c.key, c.name, c.spec()) for c in cells.values())
        self._take_over_finished(cells)
        self._see_to_earlier(cells, retry)
        states = [
            e.state for k, e in self.store.entries().items() if k in cells
        ]
        note_claims(self.suite, self.folder, states.count('finished'))
        write_listing(self.suite, self.folder)
        if retry:
            self.store.retry(cells)
        with self._beating():
            try:
                while (
                    self._fill(cells, executor, jobs)
                    or self._running
                    or self._others_go_on()
                ):
                    for future in self._ended():
                        self._end(self._running.pop(future), future)
                    watch()
            finally:
                for cell in self._running.values():
                    self._give_up(cell)

    def _ended(self) -> set[Future]:
        """Those that have ended within a second."""
        if not self._running:  # what others run is waited for
            time.sleep(_LOOK)
            return set()
        return wait(self._running, _LOOK, return_when=FIRST_COMPLETED)[0]

    def _others_go_on(self) -> bool:
        """Whether cells wait for such as another driver runs."""
        entries = self.entries()
        waiting = {k for k, e in entries.items() if e.state == 'waiting'}
        return bool(waiting - blocked(entries).keys())

    def _fill(
        self, cells: dict[str, Cell], executor: Executor, jobs: int
    ) -> bool:
        """Claim cells while there is room; whether any was claimed."""
        claimed = False
        while len(self._running) < jobs:
            dead = dead_owners(self.store.entries().values())
            # What another process still holds is in nobody's way.
            keys = sorted(cells, key=self._busy.__contains__)
            key = self.store.claim(keys, self.owner, dead, self._after)
            if key is None:
                break
            try:
                self._check_disk()
                future = self._submit(cells[key], executor)
            except BaseException:
                self._give_up(cells[key])
                raise
            self._running[future] = cells[key]
            claimed = True
        return claimed

    def _submit(self, cell: Cell, executor: Executor) -> Future:
        folder = self.work_dir(cell.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR).unlink(missing_ok=True)
        spec = dict(cell.spec(), key=cell.key, name=cell.name)
        spec['rewinds'] = self.suite.rewinds.get(cell.key, [])
        write_text(folder / SPEC, json.dumps(spec, indent=2))
        command = [sys.executable, '-m', 'epsd_mm.benchmark.cell', str(folder)]
        try:
            return executor.submit(Job(command, folder / LOG))
        except PlaceError as error:
            raise SuiteError(str(error)) from error

    def _end(self, cell: Cell, future: Future) -> None:
        error = future.exception()
        # Where another driver has it, this one was silent for too long.
        with suppress(TakenError):
            if isinstance(error, PlaceError):
                self.store.release(cell.key, self.owner)
                raise SuiteError(str(error))
            if isinstance(error, BusyJobError):
                self._busy.add(cell.key)
                self.store.release(cell.key, self.owner)
            elif isinstance(error, InterruptedJobError) and self._again(cell):
                self.store.release(cell.key, self.owner)
            elif error is not None:
                self._fail(cell, str(error))
            else:
                self._finish(cell)

    def _again(self, cell: Cell) -> bool:
        """Whether a cell that was killed is begun once more by itself."""
        self._kills[cell.key] += 1
        return self._kills[cell.key] < MOST_KILLS

    def _fail(self, cell: Cell, error: str) -> None:
        self.store.fail(cell.key, self.owner, error)
        # So that a store that is rebuilt knows of it.
        with suppress(OSError):
            write_text(self.work_dir(cell.key) / ERROR, error)
        self._failures.append(error)
        alike = len(set(self._failures)) == 1
        if not self._finished and alike and len(self._failures) == _HOPELESS:
            raise SuiteError(
                f'the first {_HOPELESS} cells all failed alike ({error}): put '
                'it right, and go on with --retry'
            )

    def _finish(self, cell: Cell) -> None:
        try:
            metrics, environment = read_result_file(self.work_dir(cell.key))
        except (OSError, ValueError) as error:
            self._fail(cell, f'it ended well but left no result: {error}')
            return
        self.store.finish(cell.key, self.owner, metrics, environment)
        self._finished += 1
        self._check_metric(cell, metrics)

    def _check_metric(self, cell: Cell, metrics: Mapping) -> None:
        """Raise where a set-up compares what its runs do not report."""
        wanted, setup = f'metric/{cell.setup.metric}', cell.setup.name
        names = [n.partition('/')[2] for n in metrics if n[:7] == 'metric/']
        # Some evaluators say nothing of a detector that has found nothing.
        if wanted in metrics or not names:
            return
        others = self.store.entries().values()
        if any(
            e.spec['setup'] == setup and wanted in e.metrics for e in others
        ):
            return
        raise SuiteError(
            f'set-up {setup!r} compares {cell.setup.metric!r}, which '
            f'{cell.name!r} does not report; it has {", ".join(names)}. Name '
            'one of them: finished cells are kept'
        )

    def _take_over_finished(self, cells: Mapping[str, Cell]) -> None:
        """Rebuild from the work dirs what a lost store knew."""
        for key, entry in self.store.entries().items():
            if key in cells and entry.state == 'waiting':
                take_result(self.store, key, self.work_dir(key))

    def _see_to_earlier(self, cells: Mapping[str, Cell], retry: bool) -> None:
        """Raise where what others go on from is gone, or let it run again.

        Raises:
            SuiteError: Names the cell, and what it lacks.
        """
        entries, again = self.store.entries(), {}
        for key, cell in reversed(cells.items()):  # the last ones first
            if entries[key].state == 'finished' and key not in again:
                continue
            done = [
                earlier.key
                for earlier in cell.after
                if entries[earlier.key].state == 'finished'
            ]
            again |= self._lacks(cell, done) if done else {}
        if again and not retry:
            key, lacks = next(iter(again.items()))
            raise SuiteError(
                f'{entries[key].name!r} has finished, and {lacks}, from which '
                f'others go on, is not in {self.work_dir(key)}: bring it '
                f'there, or run that again with --retry ({len(again)} in all)'
            )
        if again:
            self._set_aside({key: entries[key] for key in again})
            self.store.begin_again(again)

    def _set_aside(self, entries: dict[str, Entry]) -> None:
        """Keep what finished cells have left when they shall run again."""
        aside = self.folder / f'aside_{time.strftime("%Y%m%d_%H%M%S")}'
        aside.mkdir()
        export_json(entries, aside / 'results.json')
        for key in entries:
            if self.work_dir(key).is_dir():
                self.work_dir(key).rename(aside / key)
        names = ', '.join(entry.name for entry in entries.values())
        print_log(
            f'run again, since others go on from what is gone of them: {names}'
            f'; what they had is in {aside}'
        )

    def _lacks(self, cell: Cell, done: list[str]) -> dict[str, str]:
        """By key of those before it, what a cell would not find there."""
        cells = self.work_dir(cell.key).parent
        return {
            file.key: file.what
            for file in taken_in_all(cell.config, cells)
            if file.key in done and not file.is_there
        }

    def _give_up(self, cell: Cell) -> None:
        with suppress(StoreError):  # others find out that this one is gone
            self.store.release(cell.key, self.owner)

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE:
            raise SuiteError(
                f'{self.folder} has {free / 1e6:.0f} MB left, and a cell is '
                f'begun with {LEAST_FREE / 1e6:.0f} MB at least: make room, '
                'and go on'
            )

    @contextmanager
    def _beating(self):
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(_HEARTBEAT):
                for cell in list(self._running.values()):
                    with suppress(StoreError):  # the next one may be written
                        self.store.heartbeat(cell.key, self.owner)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
