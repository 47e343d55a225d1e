"""What takes neither torch nor mm: to look at a suite, and to tidy it up."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from epsd_mm.benchmark.export import (
    export_csv,
    export_json,
    read_json,
    take_entries,
)
from epsd_mm.benchmark.overview import overview
from epsd_mm.benchmark.rebuild import rebuild
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteFolder


def status(args: argparse.Namespace, folder: SuiteFolder) -> None:
    Console().print(overview(folder))
    exit_if_failed(folder)


def exit_if_failed(folder: SuiteFolder) -> None:
    if folder.entries('failed'):
        sys.exit(1)


def export(args: argparse.Namespace, folder: SuiteFolder) -> None:
    entries = folder.entries()
    out = Path(args.out or folder.folder / 'export')
    out.mkdir(parents=True, exist_ok=True)
    export_csv(entries, out / 'results.csv')
    export_json(entries, out / 'results.json')
    print(out)


def take(args: argparse.Namespace, folder: SuiteFolder) -> None:
    entries = read_json(args.file)
    count = take_entries(Store(folder.folder / STORE), entries.values())
    foreign = entries.keys() - folder.keys
    print(f'{count} finished cells taken')
    if foreign:
        print(
            f'{len(foreign)} cells of {args.file} are not in the suite as it '
            'is now, and are left out of its report'
        )


def renew(args: argparse.Namespace, folder: SuiteFolder) -> None:
    made = rebuild(folder.folder)
    print(
        f'{made.cells} cells, {made.finished} of them finished and '
        f'{made.failed} failed; what was there before: '
        + (', '.join(map(str, made.aside)) or 'nothing')
    )


def remove(args: argparse.Namespace, folder: SuiteFolder) -> None:
    for entry in folder.clean():
        print(f'deleted {entry.key}: {entry.name}')
