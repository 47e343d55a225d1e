"""Arguments that the tools share, and how they end on what is wrong."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config, DictAction

from endings import one_sentence
from epsd_mm.engine.runner import complete
from epsd_mm.engine.safe_loading import (
    CheckpointError,
    add_trust_argument,
    code_refused,
)
from epsd_mm.runs import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that close both tools' lists."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings that replace those of the config, as key=value: '
        'a.b=1 for a nested one, a="[1,2]" or a=1,2 for a list, '
        'a="[(1,2),(3,4)]" for a list of tuples (quoted, without spaces)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed job',
    )
    add_trust_argument(parser)
    # torch.distributed.launch passes this one; torchrun sets LOCAL_RANK.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def run_of(args: argparse.Namespace, **asked: str | None) -> Run:
    """The run that the command line asks for."""
    options = dict(launcher=args.launcher) | args.cfg_options
    return Run(args.config, options=options, **asked)


def resolve(
    args: argparse.Namespace, run: Run, base: Config | None = None
) -> Config:
    """The complete config of a run, in the folder that was asked for.

    Args:
        args: Of the command line.
        run: That they ask for.
        base: What the file of its config holds, where it was changed.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = run.resolve(base)
    cfg.work_dir = args.work_dir or run.work_dir(cfg)
    return complete(cfg)


@contextmanager
def careful_loading(args: argparse.Namespace) -> Iterator[None]:
    """Run no code that comes in a checkpoint, unless it is trusted."""
    with one_sentence(CheckpointError):
        with code_refused(unless=args.trust_checkpoint):
            yield
