"""Runs the cells of a suite, and says what it would run."""

import argparse
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live

from epsd_mm.benchmark.driver import Driver
from epsd_mm.benchmark.effects import check_effects
from epsd_mm.benchmark.executors import (
    Executor,
    LocalExecutor,
    RayExecutor,
    SlurmExecutor,
)
from epsd_mm.benchmark.export import read_json
from epsd_mm.benchmark.overview import failures, overview, sentence
from epsd_mm.benchmark.plan import Costs, plan
from epsd_mm.benchmark.preflight import check_data, check_metrics
from epsd_mm.benchmark.store import Entry, Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteFolder

from .looking import exit_if_failed


def run(args: argparse.Namespace, folder: SuiteFolder) -> None:
    driver = Driver(folder.suite, folder.folder)
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
    executor = _EXECUTORS[args.executor](args, driver)
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


_EXECUTORS = dict(local=local, ray=ray, slurm=slurm)
