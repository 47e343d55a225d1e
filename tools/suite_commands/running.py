"""Runs the cells of a suite, and says what it would run."""

import argparse
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.logging import print_log
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
from epsd_mm.benchmark.overview import (
    current_entries,
    failures,
    overview,
    sentence,
)
from epsd_mm.benchmark.plan import Costs, plan
from epsd_mm.benchmark.preflight import (
    check_cells,
    check_data,
    check_metrics,
)
from epsd_mm.benchmark.store import Entry, Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteFolder
from epsd_mm.benchmark.suite_types import close_to
from epsd_mm.benchmark.waiting import blocked

from .looking import exit_if_failed


def run(args: argparse.Namespace, folder: SuiteFolder) -> None:
    check_options(args)
    driver = Driver(folder.suite, folder.folder)
    check_effects(driver.suite)
    if args.dry_run:
        print(planned(args, driver))
        return
    where = args.executor or 'local'
    executor = _EXECUTORS[where](args, driver)
    jobs = args.jobs or getattr(executor, 'workers', 16)
    console = Console()
    with executor:
        check_metrics(driver.suite)
        done = entries_in(driver, 'finished')
        cells = [c for c in driver.suite.cells if c.key not in done]
        here = where == 'local'  # other machines may have other disks
        if here:
            check_data(cells)
        check_cells(driver.suite, cells, read_data=here)
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


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot be, and what has no effect.

    Raises:
        ValueError: Names the option.
    """
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f'--jobs {args.jobs} must be at least 1')
    running = ('executor', 'jobs', 'option')
    idle = running if args.dry_run else ('costs',)
    for name in idle:
        if getattr(args, name):
            beside = 'beside' if args.dry_run else 'without'
            raise ValueError(f'--{name} has no effect {beside} --dry-run')


def planned(args: argparse.Namespace, driver: Driver) -> str:
    """What would run, as a table."""
    known = {}
    for path in args.costs:
        known |= read_json(path)
    done = entries_in(driver, 'finished')
    costs = Costs((known | done).values())
    cells = driver.suite.cells
    failed, behind = {}, {}
    if not args.retry:
        failed = entries_in(driver, 'failed')
        behind = behind_failed(driver) if failed else {}
    text = plan(cells, done.keys() | failed.keys() | behind.keys(), costs)
    left = sum(cell.key in failed for cell in cells)
    if left:
        text += f'; {left} failed before, and would run with --retry'
    if behind:
        text += f'; {len(behind)} wait for these'
    return text


def entries_in(driver: Driver, state: str) -> dict[str, Entry]:
    """Cells in a state by key; a store is not made for it."""
    path = driver.folder / STORE
    entries = Store.existing(path).entries() if path.is_file() else {}
    return {k: e for k, e in entries.items() if e.state == state}


def behind_failed(driver: Driver) -> dict[str, Entry]:
    """Cells that cannot begin, by key, and what failed before them."""
    return blocked({e.key: e for e in current_entries(driver)})


def local(args: argparse.Namespace, driver: Driver) -> LocalExecutor:
    check_known(args.option, LocalExecutor)
    count = torch.cuda.device_count()
    if count > 1 and 'gpus' not in args.option:
        print_log(
            f'each cell takes the first of {count} GPUs: share them out by '
            f'--option gpus={",".join(map(str, range(count)))}',
            level=logging.WARNING,
        )
    return LocalExecutor(workers=args.jobs, **args.option)


def ray(args: argparse.Namespace, driver: Driver) -> RayExecutor:
    check_known(args.option, RayExecutor)
    return RayExecutor(**args.option)


def slurm(args: argparse.Namespace, driver: Driver) -> SlurmExecutor:
    return SlurmExecutor(driver.folder / 'submitit', parameters=args.option)


def check_known(option: Mapping[str, Any], kind: type[Executor]) -> None:
    """Refuse options that an executor does not have.

    Raises:
        ValueError: Names the first, and those that are known.
    """
    # Which --jobs gives.
    known = inspect.signature(kind).parameters.keys() - {'workers'}
    for name, value in option.items():
        if name not in known:
            raise ValueError(
                f'--option {name}={value}: the executor has no {name!r}: '
                f'{close_to(name, known)}; --jobs says how many cells run at '
                'a time'
            )


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
