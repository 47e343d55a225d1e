"""Measure networks: milliseconds, memory and size, one table.

Exported files run in ONNX Runtime, OpenVINO and, where it is installed,
TensorRT; configs run in torch. All are measured in turn, one run of each a
round, on images of noise, from pixels to final boxes.
"""

import argparse
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from common import one_sentence
from epsd_mm.deploy.latency import (
    RUNTIMES,
    as_json,
    measure,
    table,
    what_zeros_gave,
)
from epsd_mm.files import write_text


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'targets',
        nargs='+',
        metavar='FILE|CONFIG[:CHECKPOINT]',
        help='a .onnx or .xml file, or a config, with its initial weights '
        'or those of a checkpoint',
    )
    parser.add_argument(
        '--runtimes', nargs='+', choices=[*RUNTIMES], help='only these'
    )
    parser.add_argument('--batch', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument(
        '--warm-up', type=int, default=2, help='rounds that do not count'
    )
    parser.add_argument(
        '--size', nargs=2, type=int, metavar=('W', 'H'), help='of images'
    )
    parser.add_argument('--out', help='write every run to this .json file')
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    with one_sentence((ImportError, OSError, ValueError)):
        if args.out is not None and not Path(args.out).parent.is_dir():
            raise FileNotFoundError(f'there is no folder for {args.out}')
        found = measure(
            args.targets,
            args.runtimes,
            args.batch,
            args.threads,
            args.rounds,
            args.warm_up,
            args.size,
        )
        print(table(found, args.threads))
        print('\n'.join(what_zeros_gave(found)))
        if args.out is not None:
            write_text(args.out, as_json(found, args.threads) + '\n')


if __name__ == '__main__':
    main()
