"""Prune, then distill: make the student that a pruned network teaches.

DIR/config.py is of a dense network whose layers are as large as what the
teacher keeps of its own, and is trained as any other config.
"""

import argparse
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from common import (
    add_arguments,
    careful_loading,
    one_sentence,
    resolve,
    run_of,
)
from epsd_mm.prune_then_distill import write_student


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the pruned network')
    parser.add_argument('checkpoint', help='of its training')
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder for config.py'
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.work_dir = args.out
    return args


def main() -> None:
    args = parse_args()
    told = (ImportError, OSError, ValueError)
    with careful_loading(args), one_sentence(told):
        cfg = resolve(args, run_of(args))
        write_student(cfg, Path(args.out), args.checkpoint)


if __name__ == '__main__':
    main()
