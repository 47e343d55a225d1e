"""What a cell of a suite costs over the same run by tools/train.py.

Both run in turns, each in a process of its own from its start to its end. On
a machine that others use, look at the processor's time.

    python tools/analysis_tools/benchmark_cells.py SUITE --cells 0 4
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import epsd_mm

from epsd_mm.benchmark.cell import LOG, SPEC
from epsd_mm.benchmark.executors import Job, run_job
from epsd_mm.benchmark.suite import Cell, Suite
from epsd_mm.tables import text_table

TRAIN = epsd_mm.shipped('tools') / 'train.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('suite')
    parser.add_argument(
        '--cells', type=int, nargs='+', default=[0], help='which, from 0 on'
    )
    parser.add_argument('--repeat', type=int, default=3)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cells = Suite.load(args.suite).cells
    rows = []
    for index in args.cells:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(cells[index], Path(folder), args.repeat)
        for kind, (train, cell) in found.items():
            ratio = f'{100 * (cell / train - 1):+.1f} %'
            row = [cells[index].name, kind, f'{train:.2f} s', f'{cell:.2f} s']
            rows.append([*row, ratio])
    headings = ['cell', 'time', 'tools/train.py', 'cell', 'difference']
    title = f'Medians of {args.repeat}'
    print(text_table(title, headings, rows, align='llrrr'))


def measured(
    cell: Cell, folder: Path, repeat: int
) -> dict[str, tuple[float, float]]:
    """Median seconds of both, on the clock and of the processor."""
    config = folder / 'config.py'
    cell.config.dump(config)
    times: list[tuple[tuple[float, float], ...]] = []
    for number in range(repeat):
        by_tool, as_cell = folder / f'tool{number}', folder / f'cell{number}'
        for each in (by_tool, as_cell):
            each.mkdir()
        spec = dict(cell.spec(), key=cell.key, name=cell.name)
        (as_cell / SPEC).write_text(json.dumps(spec))
        train = [str(TRAIN), str(config), '--work-dir', str(by_tool)]
        run = ['-m', 'epsd_mm.benchmark.cell', str(as_cell)]
        jobs = [
            Job([sys.executable, *words], where / LOG)
            for words, where in ((train, by_tool), (run, as_cell))
        ]
        sides = [timed(lambda job=job: run_job(job)) for job in jobs]
        times.append(tuple(sides))
    return {
        kind: tuple(
            statistics.median(each[side][index] for each in times)
            for side in (0, 1)
        )
        for index, kind in enumerate(('clock', 'processor'))
    }


def timed(what: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor in other processes."""
    begun, before = time.perf_counter(), _processor()
    what()
    return time.perf_counter() - begun, _processor() - before


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
    main()
