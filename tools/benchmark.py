"""Run a suite of comparisons, look at it, report on it.

python tools/benchmark.py run configs/benchmarks/micro.py
python tools/benchmark.py run configs/benchmarks/micro.py --dry-run
python tools/benchmark.py status configs/benchmarks/micro.py
python tools/benchmark.py report configs/benchmarks/micro.py
python tools/benchmark.py clean configs/benchmarks/micro.py
"""

import argparse
import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

# All of the package is imported where it has to say something alone.
if find_spec('mmengine') is None:
    import with_mm  # noqa: F401

# isort: split
from mmengine.config import DictAction

from endings import one_sentence

#: Each command: its module in ``suite_commands``, and its function there.
COMMANDS = {
    'run': ('running', 'run'),
    'status': ('looking', 'status'),
    'report': ('reporting', 'report'),
    'export': ('looking', 'export'),
    'import': ('looking', 'take'),
    'metafile': ('reporting', 'metafile'),
    'rebuild': ('looking', 'renew'),
    'clean': ('looking', 'remove'),
}
#: Those that delete nothing, and run nothing, take a list of the cells.
LOOKING = ('status', 'export', 'import', 'rebuild')


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='run all cells not finished yet')
    run.add_argument(
        '--executor',
        choices=['local', 'ray', 'slurm'],
        help='processes on this machine (by default), a Ray cluster, or '
        'Slurm by submitit',
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
        ('clean', 'list cells that the suite has no longer, or delete them'),
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
    commands.choices['export'].add_argument(
        '--files',
        action='store_true',
        help='write what a report reads of the folders of the cells, too: '
        'masks, logs and predictions, as cells.tar.gz',
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
    commands.choices['clean'].add_argument(
        '--yes',
        action='store_true',
        help='delete them, with their results and folders',
    )
    commands.choices['import'].add_argument('file', help='a results.json')
    commands.choices['import'].add_argument(
        '--files',
        metavar='FILE',
        help='the cells.tar.gz beside it, for all that a report can show',
    )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    name = Path(args.suite).stem
    folder = args.work_dir or Path('work_dirs', 'benchmarks', name)
    module, function = COMMANDS[args.command]
    with one_sentence():
        suite = None
        if args.command in LOOKING:
            suite = listed(args.suite, folder)
        suite = suite or loaded(args.suite)

    from epsd_mm.benchmark.suite_folder import SuiteFolder
    from suite_commands import ERRORS

    try:
        with one_sentence(ERRORS):
            command = getattr(imported(module), function)
            command(args, SuiteFolder(suite, folder))
    except KeyboardInterrupt:
        raise SystemExit(
            'interrupted: the same command goes on where it was'
        ) from None


def listed(path: str, folder: str | Path):
    """The cells as the last run has listed them, if they are those still.

    To import all of the package takes seconds, and a list is read in one.
    """
    os.environ['EPSD_MM_BARE'] = '1'
    try:
        from epsd_mm.benchmark.listing import read_listing
    finally:
        del os.environ['EPSD_MM_BARE']
    return read_listing(path, folder)


def loaded(path: str):
    """The suite, with all that can be in its configs."""
    # The package repairs broken environments, so it is imported first.
    import epsd_mm

    if not hasattr(epsd_mm, 'Masks'):  # it was bare until now
        importlib.reload(epsd_mm)
    from epsd_mm.benchmark.suite import Suite

    return Suite.load(path)


def imported(module: str) -> ModuleType:
    """A module of commands; of its needs one may be absent."""
    try:
        return importlib.import_module(f'suite_commands.{module}')
    except ModuleNotFoundError as error:
        raise ImportError(
            f'this command needs {error.name}: '
            f'`{sys.executable} -m pip install {error.name}`'
        ) from error


if __name__ == '__main__':
    main()
