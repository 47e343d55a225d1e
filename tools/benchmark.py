"""Run a suite of comparisons, look at it, report on it.

python tools/benchmark.py run configs/benchmarks/micro.py
python tools/benchmark.py run configs/benchmarks/micro.py --dry-run
python tools/benchmark.py status configs/benchmarks/micro.py
python tools/benchmark.py report configs/benchmarks/micro.py
python tools/benchmark.py clean configs/benchmarks/micro.py
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# The package repairs broken environments, so it is imported first.
import epsd_mm

# isort: split
from mmengine.config import DictAction
from rich.console import Console
from rich.live import Live

from common import one_sentence
from epsd_mm.benchmark.claimed import finished_before
from epsd_mm.benchmark.driver import STORE, Driver, SuiteError, clean
from epsd_mm.benchmark.effects import check_effects
from epsd_mm.benchmark.executors import (
    Executor,
    LocalExecutor,
    RayExecutor,
    SlurmExecutor,
)
from epsd_mm.benchmark.export import (
    export_csv,
    export_json,
    read_json,
    take_entries,
)
from epsd_mm.benchmark.overview import failures, overview, sentence
from epsd_mm.benchmark.plan import Costs, plan
from epsd_mm.benchmark.preflight import check_data, check_metrics
from epsd_mm.benchmark.rebuild import rebuild
from epsd_mm.benchmark.store import Entry, Store, StoreError
from epsd_mm.benchmark.suite import Suite


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='run all cells not finished yet')
    run.add_argument(
        '--executor',
        choices=EXECUTORS,
        default='local',
        help='processes on this machine, a Ray cluster, or Slurm by submitit',
    )
    run.add_argument(
        '--jobs',
        type=int,
        help='cells at a time: by default as many as there is room for '
        'locally, and 16 on a cluster',
    )
    run.add_argument(
        '--option',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='of the executor: threads, gpus, per_gpu (local), address, cpus, '
        'gpus (ray), or what submitit takes (slurm)',
    )
    run.add_argument(
        '--retry', action='store_true', help='run failed cells again'
    )
    run.add_argument(
        '--dry-run',
        action='store_true',
        help='list the cells that would run, and what such cells have cost',
    )
    run.add_argument(
        '--costs',
        nargs='+',
        default=[],
        metavar='FILE',
        help='with --dry-run: results.json of other runs whose costs count',
    )
    for name, what in (
        ('status', 'say what is done, runs and failed'),
        ('report', 'write a page with tables, figures and verdicts'),
        ('export', 'write finished cells to results.csv and results.json'),
        ('import', 'take finished cells of a results.json'),
        ('metafile', 'write results as a metafile.yml'),
        ('rebuild', "set the store aside; make one from the cells' folders"),
        ('clean', 'delete cells that the suite has no longer'),
    ):
        commands.add_parser(name, help=what)
    for command in commands.choices.values():
        command.add_argument('suite', help='path of a suite')
        command.add_argument(
            '--work-dir',
            help='folder of store and cells; work_dirs/benchmarks/NAME '
            'by default',
        )
    for name in ('report', 'export'):
        commands.choices[name].add_argument(
            '--out', help=f'folder for it; WORK_DIR/{name} by default'
        )
    metafile = commands.choices['metafile']
    metafile.add_argument('out', help='the file to write')
    metafile.add_argument(
        '--root',
        help='folder of the project that the metafile is of, where it is not '
        'this one',
    )
    metafile.add_argument(
        '--index', help='a model-index.yml that shall name it'
    )
    commands.choices['import'].add_argument('file', help='a results.json')
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    name = Path(args.suite).stem
    folder = args.work_dir or Path('work_dirs', 'benchmarks', name)
    try:
        with one_sentence():
            driver = Driver(Suite.load(args.suite), folder)
            if args.command in LATER:
                driver.store = Store.existing(driver.folder / STORE)
            COMMANDS[args.command](args, driver)
    except (StoreError, SuiteError, ImportError) as error:
        raise SystemExit(f'error: {error}') from None
    except KeyboardInterrupt:
        raise SystemExit(
            'interrupted: the same command goes on where it was'
        ) from None


def run(args: argparse.Namespace, driver: Driver) -> None:
    check_effects(driver.suite)
    if args.dry_run:
        print(planned(args, driver))
        return
    if args.costs:
        raise ValueError('--costs has no effect without --dry-run')
    check_metrics(driver.suite)
    if args.executor == 'local':  # other machines may have other disks
        done = entries_in(driver, 'finished')
        check_data(c for c in driver.suite.cells if c.key not in done)
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f'--jobs {args.jobs} must be at least 1')
    executor = EXECUTORS[args.executor](args, driver)
    jobs = args.jobs or getattr(executor, 'workers', 16)
    console = Console()
    with executor:
        if console.is_terminal:
            # A table of a thousand cells takes a sixth of a second.
            with Live(console=console, refresh_per_second=0.5) as live:
                view = NowAndThen(
                    5, lambda: live.update(overview(driver, jobs))
                )
                driver.run(executor, jobs, view, args.retry)
                live.update(overview(driver, jobs))
        else:
            view = NowAndThen(
                60, lambda: print(sentence(driver, jobs), flush=True)
            )
            driver.run(executor, jobs, view, args.retry)
    print(sentence(driver, jobs))
    if not console.is_terminal:  # there, the table has them
        for line in failures(driver):
            print(line)
    exit_if_failed(driver)


def planned(args: argparse.Namespace, driver: Driver) -> str:
    """What would run, as a table."""
    known = {}
    for path in args.costs:
        known |= read_json(path)
    done = entries_in(driver, 'finished')
    costs = Costs((known | done).values())
    cells = driver.suite.cells
    failed = {} if args.retry else entries_in(driver, 'failed')
    text = plan(cells, done.keys() | failed.keys(), costs)
    left = sum(cell.key in failed for cell in cells)
    if left:
        text += f'; {left} failed before, and would run with --retry'
    return text


def entries_in(driver: Driver, state: str) -> dict[str, Entry]:
    """Cells in a state by key; a store is not made for it."""
    path = driver.folder / STORE
    entries = Store.existing(path).entries() if path.is_file() else {}
    return {k: e for k, e in entries.items() if e.state == state}


def local(args: argparse.Namespace, driver: Driver) -> LocalExecutor:
    option = dict(args.option)
    if isinstance(option.get('gpus'), int):  # gpus=0 names one
        option['gpus'] = [option['gpus']]
    return _built(LocalExecutor, workers=args.jobs, **option)


def ray(args: argparse.Namespace, driver: Driver) -> RayExecutor:
    return _built(RayExecutor, **args.option)


def slurm(args: argparse.Namespace, driver: Driver) -> SlurmExecutor:
    return SlurmExecutor(driver.folder / 'submitit', parameters=args.option)


def _built(kind: type, **options) -> Executor:
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(f'--option: {error}') from error


class NowAndThen:
    """Calls something, so many seconds apart at least."""

    def __init__(self, pause: float, what: Callable[[], None]) -> None:
        self.pause, self.what = pause, what
        self.last = -pause

    def __call__(self) -> None:
        if time.monotonic() - self.last >= self.pause:
            self.last = time.monotonic()
            self.what()


def status(args: argparse.Namespace, driver: Driver) -> None:
    Console().print(overview(driver))
    exit_if_failed(driver)


def exit_if_failed(driver: Driver) -> None:
    keys, entries = {c.key for c in driver.suite.cells}, driver.store.entries()
    if any(entries[k].state == 'failed' for k in keys & entries.keys()):
        sys.exit(1)


def report(args: argparse.Namespace, driver: Driver) -> None:
    comparison, pages = reporting()
    found = comparison.Comparison(
        driver.suite,
        driver.store.entries(),
        finished_before(driver.suite, driver.folder),
    )
    folder = args.out or driver.folder / 'report'
    for page in pages.write_report(found, driver.folder / 'cells', folder):
        print(page)


def reporting() -> tuple[ModuleType, ModuleType]:
    """What only reports need, which other commands do without."""
    try:
        from epsd_mm.benchmark import comparison, report
    except ModuleNotFoundError as error:
        raise ImportError(
            f'a report needs {error.name}: '
            f'`{sys.executable} -m pip install {error.name}`'
        ) from error
    return comparison, report


def export(args: argparse.Namespace, driver: Driver) -> None:
    folder = Path(args.out or driver.folder / 'export')
    folder.mkdir(parents=True, exist_ok=True)
    keys = {cell.key for cell in driver.suite.cells}
    entries = driver.store.entries()
    entries = {key: entry for key, entry in entries.items() if key in keys}
    export_csv(entries, folder / 'results.csv')
    export_json(entries, folder / 'results.json')
    print(folder)


def metafile(args: argparse.Namespace, driver: Driver) -> None:
    comparison, pages = reporting()
    found = comparison.Comparison(driver.suite, driver.store.entries())
    root = Path(args.root or epsd_mm.shipped('configs').parent)
    pages.write_metafile(found, args.out, root)
    if args.index is not None:
        pages.add_to_index(args.out, args.index, root)
    print(args.out)


def take(args: argparse.Namespace, driver: Driver) -> None:
    entries = read_json(args.file)
    count = take_entries(driver.store, entries.values())
    foreign = entries.keys() - {c.key for c in driver.suite.cells}
    print(f'{count} finished cells taken')
    if foreign:
        print(
            f'{len(foreign)} cells of {args.file} are not in the suite as it '
            'is now, and are left out of its report'
        )


def renew(args: argparse.Namespace, driver: Driver) -> None:
    made = rebuild(driver.folder)
    print(
        f'{made.cells} cells, {made.finished} of them finished and '
        f'{made.failed} failed; what was there before: '
        + (', '.join(map(str, made.aside)) or 'nothing')
    )


def remove(args: argparse.Namespace, driver: Driver) -> None:
    for entry in clean(driver):
        print(f'deleted {entry.key}: {entry.name}')


#: Commands that need what an earlier one has made.
LATER = ('status', 'report', 'export', 'metafile', 'clean')
EXECUTORS = dict(local=local, ray=ray, slurm=slurm)
COMMANDS = {
    'run': run,
    'status': status,
    'report': report,
    'export': export,
    'import': take,
    'metafile': metafile,
    'rebuild': renew,
    'clean': remove,
}

if __name__ == '__main__':
    main()
