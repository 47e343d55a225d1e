"""A suite whose runners and cells are killed at random."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from epsd_mm.benchmark.export import export_csv
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite_folder import STORE

TOOL = Path(__file__).parents[2] / 'benchmark.py'
# What a run costs is another thing each time.
_COSTS = ('s', 'B', 'MiB')
_LONGEST_WAIT = 10.0  # seconds: a cell has started and trains by then


class KilledSuite:
    """Runs a suite by several runners, and kills them and their cells.

    Args:
        suite: Path of the suite.
        folder: Its work dir.
        seed: Of when and whom.
        runners: So many share the suite.

    Attributes:
        killed: Number of kills of each kind.
    """

    def __init__(
        self, suite: Path, folder: Path, seed: int = 0, runners: int = 2
    ) -> None:
        self.suite, self.folder = suite, folder
        self.killed: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._runners: list[subprocess.Popen | None] = [None] * runners

    def run(self, kills: int) -> None:
        """Kill so often, as long as something runs; then run to the end."""
        while self.killed.total() < kills and not self._is_done():
            self._start()
            if self._rng.random() < 0.7:
                self._wait_for_a_cell()
            time.sleep(self._rng.uniform(0, _LONGEST_WAIT))
            self._kill_one()
        for process in self._runners:
            if process is not None:
                process.wait()
        self.tool('run', '--jobs', '2', '--retry')

    def tool(self, command: str, *arguments: str) -> str:
        """Run a command of the tool to its end; what it prints."""
        return subprocess.run(
            self.command(command, *arguments),
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    def table(self) -> list[list[str]]:
        """The exported results, but for what they have cost."""
        path = self.folder / 'results.csv'
        export_csv(Store.existing(self.folder / STORE).entries(), path)
        with open(path, newline='') as file:
            return sorted(r for r in csv.reader(file) if r[-1] not in _COSTS)

    def command(self, command: str, *arguments: str) -> list[str]:
        """Words that start the tool."""
        where = [str(self.suite), '--work-dir', str(self.folder)]
        return [sys.executable, str(TOOL), command, *where, *arguments]

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for index, process in enumerate(self._runners):
            if process is None or process.poll() is not None:
                with open(self.folder / f'runner_{index}.txt', 'ab') as log:
                    self._runners[index] = subprocess.Popen(
                        self.command('run', '--jobs', '1', '--retry'),
                        stdout=log,
                        stderr=log,
                    )

    def _wait_for_a_cell(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self._is_done():
            if running_cells(self.folder):
                return
            time.sleep(0.1)

    def _kill_one(self) -> None:
        runners = [p.pid for p in self._runners if p and p.poll() is None]
        cells = running_cells(self.folder)
        kinds = {'runner': runners, 'cell': cells}
        kinds = [(kind, pids) for kind, pids in kinds.items() if pids]
        if not kinds:
            return
        kind, pids = self._rng.choice(kinds)
        try:
            os.kill(self._rng.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed[kind] += 1

    def _is_done(self) -> bool:
        """Whether all runners have ended by themselves, and well."""
        return all(p is not None and p.poll() == 0 for p in self._runners)


def running_cells(folder: Path) -> list[int]:
    """Numbers of the processes that run cells of a folder."""
    found = []
    for process in Path('/proc').iterdir():
        try:
            words = (process / 'cmdline').read_bytes().decode().split('\0')
        except (OSError, UnicodeDecodeError):
            continue
        if 'epsd_mm.benchmark.cell' in words and words[-2].startswith(
            str(folder)
        ):
            found.append(int(process.name))
    return found
