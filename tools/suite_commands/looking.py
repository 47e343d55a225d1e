"""What takes neither torch nor mm: to look at a suite, and to tidy it up."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from epsd_mm.benchmark.cell_files import pack_cells, unpack_cells
from epsd_mm.benchmark.export import (
    export_csv,
    export_json,
    read_json,
    take_entries,
)
from epsd_mm.benchmark.overview import overview
from epsd_mm.benchmark.rebuild import rebuild
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteError, SuiteFolder
from epsd_mm.benchmark.wording import cell_count


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
    if args.files:
        count = pack_cells(folder, out / 'cells.tar.gz')
        print(f'{out / "cells.tar.gz"}: files of {cell_count(count)}')


def take(args: argparse.Namespace, folder: SuiteFolder) -> None:
    entries = read_json(args.file)
    foreign = entries.keys() - folder.keys
    if len(foreign) == len(entries):
        raise ValueError(
            f'none of the {len(entries)} finished cells of {args.file} is a '
            f'cell of {args.suite} as it is now, and nothing was taken: name '
            'the suite and the configs that they were run with'
        )
    count = take_entries(Store(folder.folder / STORE), entries.values())
    print(f'{cell_count(count, "finished")} taken')
    if args.files:
        found = unpack_cells(folder, args.files)
        print(f'files of {cell_count(found.taken)} taken')
        if found.kept:
            print(f'{cell_count(found.kept)} had a folder here, which stays')
        if found.unknown:
            print(f'{cell_count(found.unknown)} of it have no result here')
    if foreign:
        print(
            f'left out of its report: {len(foreign)} of the {len(entries)} '
            f'cells of {args.file}, not in the suite as it is now'
        )


def renew(args: argparse.Namespace, folder: SuiteFolder) -> None:
    made = rebuild(folder.folder)
    print(
        f'{cell_count(made.cells)}, {made.finished} of them finished and '
        f'{made.failed} failed; what was there before: '
        + (', '.join(map(str, made.aside)) or 'nothing')
    )


def remove(args: argparse.Namespace, folder: SuiteFolder) -> None:
    if args.yes:
        for entry in folder.clean():
            print(f'deleted {entry.key}: {entry.name}')
        return
    entries = folder.to_clean()
    for entry in entries:
        print(f'{entry.key}: {entry.name}, {entry.state}')
    if entries:
        done = sum(entry.state == 'finished' for entry in entries)
        raise SuiteError(
            f'{len(entries)} of the {len(folder.store.entries())} cells in '
            f'{folder.folder} would be deleted, {done} of them finished, '
            f'since {args.suite} as it is now does not have them; nothing '
            'was. See that suite and folder belong together and that no '
            'config was edited unawares, and say --yes'
        )
