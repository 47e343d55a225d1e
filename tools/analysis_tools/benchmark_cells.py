"""What a cell of a suite costs over the same run by tools/train.py.

Both run in pairs, each in a process of its own from its start to its end, and
the other one first in every second pair. Differences are medians over pairs.
On a machine that others use, look at the time of the processor, and let both
of a pair run at once (`--together`, on two cores or more): whatever else the
machine does then slows both alike.

    python tools/analysis_tools/benchmark_cells.py SUITE --cells 0 4
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import epsd_mm

from epsd_mm.benchmark.jobs import Job, run_job
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_parts import Cell
from epsd_mm.benchmark.suite_folder import LOG, SPEC
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
    parser.add_argument(
        '--together',
        action='store_true',
        help='both of a pair at once, instead of one after the other',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cells = Suite.load(args.suite).cells
    rows = []
    for index in args.cells:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(
                cells[index], Path(folder), args.repeat, args.together
            )
        for kind, pairs in found.items():
            trains, as_cells = zip(*pairs)
            rows.append(
                [
                    cells[index].name,
                    kind,
                    f'{median(trains):.2f} s',
                    f'{median(as_cells):.2f} s',
                    f'{median(c - t for t, c in pairs):+.2f} s',
                    f'{100 * median(c / t - 1 for t, c in pairs):+.1f} %',
                ]
            )
    headings = ['cell', 'time', 'tools/train.py', 'cell', 'more', 'a share']
    title = f'Medians of {args.repeat} pairs'
    print(text_table(title, headings, rows, align='llrrrr'))


def measured(
    cell: Cell, folder: Path, repeat: int, together: bool = False
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of both in each pair, on the clock and of the processor."""
    config = folder / 'config.py'
    cell.config.dump(config)
    pairs: list[list[tuple[float, float]]] = []
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
        # What a machine does beside this grows and shrinks while it runs.
        turn = slice(None, None, -1 if number % 2 else 1)
        # Each in a process that has no other children.
        with ProcessPoolExecutor(2 if together else 1) as pool:
            pairs.append(list(pool.map(timed, jobs[turn]))[turn])
    return {
        kind: [(train[index], cell[index]) for train, cell in pairs]
        for index, kind in enumerate(('clock', 'processor'))
    }


def timed(job: Job) -> tuple[float, float]:
    """Seconds on the clock, and of the processor in the job's processes."""
    begun, before = time.perf_counter(), _processor()
    run_job(job)
    return time.perf_counter() - begun, _processor() - before


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
    main()
