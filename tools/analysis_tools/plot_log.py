"""Plot scalars of one or more runs' logs into a PNG."""

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'logs',
        nargs='+',
        type=Path,
        help='scalars.json files that belong to one run, in their order; '
        'where a resumed run repeats a step, the later one counts',
    )
    parser.add_argument('--keys', nargs='+', default=['loss', 'loss_sd'])
    parser.add_argument('--out', type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        plot(read(args.logs), args.keys, args.out)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def plot(steps: dict[int, dict], keys: list[str], out: Path) -> None:
    """Write the picture: a curve for each key.

    Raises:
        ValueError: No line has a key; lists those that there are.
    """
    figure = Figure(figsize=(7, 1 + 2 * len(keys)), layout='tight')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(keys), 1, sharex=True, squeeze=False)
    for (axis,), key in zip(axes, keys):
        points = [(s, line[key]) for s, line in steps.items() if key in line]
        if not points:
            known = sorted({each for line in steps.values() for each in line})
            raise ValueError(
                f'no line of the logs has {key!r}: give --keys some of '
                f'{", ".join(known)}'
            )
        axis.plot(*zip(*points), color='#3b6ea5')
        axis.set_ylabel(key)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel('iteration')
    figure.savefig(out, dpi=120)


def read(logs: list[Path]) -> dict[int, dict]:
    """Training lines of the logs by iteration, in order.

    Raises:
        OSError: A log cannot be read.
        ValueError: A line is none of a log, or none is of training.
    """
    steps = {}
    for path in logs:
        for number, text in enumerate(path.read_text().splitlines(), 1):
            try:
                line = json.loads(text)
                if 'loss' in line:
                    steps[line['iter']] = line
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'line {number} of {path} is none of a log: name a '
                    'scalars.json in the vis_data of a run'
                ) from error
    if not steps:
        raise ValueError(
            f'{", ".join(map(str, logs))}: no line has a loss: name a '
            'scalars.json of a training'
        )
    return dict(sorted(steps.items()))


if __name__ == '__main__':
    main()
