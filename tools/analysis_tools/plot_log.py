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
    steps = read(args.logs)
    figure = Figure(figsize=(7, 1 + 2 * len(args.keys)), layout='tight')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(args.keys), 1, sharex=True, squeeze=False)
    for (axis,), key in zip(axes, args.keys):
        points = [(s, line[key]) for s, line in steps.items() if key in line]
        if not points:
            raise ValueError(f'no line of the logs has {key!r}')
        axis.plot(*zip(*points), color='#3b6ea5')
        axis.set_ylabel(key)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel('iteration')
    figure.savefig(args.out, dpi=120)


def read(logs: list[Path]) -> dict[int, dict]:
    """Training lines of the logs by iteration, in order."""
    steps = {}
    for path in logs:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if 'loss' in line:
                steps[line['iter']] = line
    return dict(sorted(steps.items()))


if __name__ == '__main__':
    main()
