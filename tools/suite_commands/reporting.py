"""Reports on a suite."""

import argparse
from pathlib import Path

import epsd_mm
from epsd_mm.benchmark.claimed import noted
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.report import write_metafile, write_report
from epsd_mm.benchmark.suite_folder import SuiteFolder


def report(args: argparse.Namespace, folder: SuiteFolder) -> None:
    found = Comparison(
        folder.suite,
        folder.store.entries(),
        noted(folder.suite, folder.folder),
    )
    out = args.out or folder.folder / 'report'
    for page in write_report(found, folder.folder / 'cells', out):
        print(page)


def metafile(args: argparse.Namespace, folder: SuiteFolder) -> None:
    found = Comparison(folder.suite, folder.store.entries())
    root = Path(args.root or epsd_mm.shipped('configs').parent)
    write_metafile(found, args.out, root, args.index)
    print(args.out)
