"""Run a suite of comparisons, look at it, report on it.

python tools/benchmark.py run configs/benchmarks/micro.py
python tools/benchmark.py status configs/benchmarks/micro.py
python tools/benchmark.py report configs/benchmarks/micro.py
python tools/benchmark.py clean configs/benchmarks/micro.py
"""

import argparse
import sys
import time
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import epsd_mm

# isort: split
from mmengine.config import DictAction
from rich.console import Console
from rich.live import Live

from common import one_sentence
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.driver import Driver, clean
from epsd_mm.benchmark.executors import (
    Executor,
    LocalExecutor,
    RayExecutor,
    SlurmExecutor,
)
from epsd_mm.benchmark.export import export_csv, export_json, import_json
from epsd_mm.benchmark.overview import overview, sentence
from epsd_mm.benchmark.report import (
    add_to_index,
    write_metafile,
    write_report,
)
from epsd_mm.benchmark.store import StoreError
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
    for name, what in (
        ('status', 'say what is done, runs and failed'),
        ('report', 'write a page with tables, figures and verdicts'),
        ('export', 'write finished cells to results.csv and results.json'),
        ('import', 'take finished cells of a results.json'),
        ('metafile', 'write results as a metafile.yml'),
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
        '--index', help='a model-index.yml that shall name it'
    )
    commands.choices['import'].add_argument('file', help='a results.json')
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    try:
        with one_sentence():
            name = Path(args.suite).stem
            folder = args.work_dir or Path('work_dirs', 'benchmarks', name)
            driver = Driver(Suite.load(args.suite), folder)
            COMMANDS[args.command](args, driver)
    except (StoreError, ImportError) as error:
        raise SystemExit(f'error: {error}') from None


def run(args: argparse.Namespace, driver: Driver) -> None:
    executor = EXECUTORS[args.executor](args, driver)
    jobs = args.jobs or getattr(executor, 'workers', 16)
    console = Console()
    with executor:
        if console.is_terminal:
            with Live(console=console, refresh_per_second=1) as live:
                driver.run(
                    executor,
                    jobs,
                    lambda: live.update(overview(driver, jobs)),
                    args.retry,
                )
        else:
            driver.run(executor, jobs, Minutely(driver, jobs), args.retry)
    print(sentence(driver, jobs))


def local(args: argparse.Namespace, driver: Driver) -> LocalExecutor:
    return _built(LocalExecutor, workers=args.jobs, **args.option)


def ray(args: argparse.Namespace, driver: Driver) -> RayExecutor:
    return _built(RayExecutor, **args.option)


def slurm(args: argparse.Namespace, driver: Driver) -> SlurmExecutor:
    return SlurmExecutor(driver.folder / 'submitit', parameters=args.option)


def _built(kind: type, **options) -> Executor:
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(f'--option: {error}') from error


class Minutely:
    """Prints a line a minute."""

    def __init__(self, driver: Driver, jobs: int) -> None:
        self.driver, self.jobs = driver, jobs
        self.last = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self.last >= 60:
            self.last = time.monotonic()
            print(sentence(self.driver, self.jobs), flush=True)


def status(args: argparse.Namespace, driver: Driver) -> None:
    Console().print(overview(driver, 1))
    if any(e.state == 'failed' for e in driver.store.entries().values()):
        sys.exit(1)


def report(args: argparse.Namespace, driver: Driver) -> None:
    comparison = Comparison(driver.suite, driver.store.entries())
    folder = args.out or driver.folder / 'report'
    for page in write_report(comparison, driver.folder / 'cells', folder):
        print(page)


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
    comparison = Comparison(driver.suite, driver.store.entries())
    root = epsd_mm.shipped('configs').parent
    write_metafile(comparison, args.out, root)
    if args.index is not None:
        add_to_index(args.out, args.index, root)
    print(args.out)


def take(args: argparse.Namespace, driver: Driver) -> None:
    count = import_json(driver.store, args.file, driver.owner)
    print(f'{count} finished cells taken')


def remove(args: argparse.Namespace, driver: Driver) -> None:
    print(f'{clean(driver)} cells deleted')


EXECUTORS = dict(local=local, ray=ray, slurm=slurm)
COMMANDS = {
    'run': run,
    'status': status,
    'report': report,
    'export': export,
    'import': take,
    'metafile': metafile,
    'clean': remove,
}

if __name__ == '__main__':
    main()
