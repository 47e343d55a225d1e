"""Reports on a suite."""

import argparse
from pathlib import Path

import epsd_mm
from epsd_mm.benchmark.claimed import finished_before
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.report import (
    add_to_index,
    write_metafile,
    write_report,
)
from epsd_mm.benchmark.suite_folder import SuiteFolder


def report(args: argparse.Namespace, folder: SuiteFolder) -> None:
    found = Comparison(
        folder.suite,
        folder.store.entries(),
        finished_before(folder.suite, folder.folder),
    )
    out = args.out or folder.folder / 'report'
    for page in write_report(found, folder.folder / 'cells', out):
        print(page)


def metafile(args: argparse.Namespace, folder: SuiteFolder) -> None:
    found = Comparison(folder.suite, folder.store.entries())
    root = Path(args.root or epsd_mm.shipped('configs').parent)
    write_metafile(found, args.out, root)
    if args.index is not None:
        add_to_index(args.out, args.index, root)
    print(args.out)
