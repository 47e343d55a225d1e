"""A table of finished runs: what they measured last, and how they scored.

Each argument is the work dir of a run of tools/train.py. The figures are
those of the last evaluation in its log (never of the best one), of
epsd/report.json, and the seconds of a training iteration without loading.

    python tools/analysis_tools/compare_runs.py work_dirs/a work_dirs/b
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from epsd_mm.quantities import Quantity
from epsd_mm.results import Log, read_result
from epsd_mm.tables import markdown_table

#: Heading, how a figure is shown, and its names; the first that is there.
EVALUATION = {
    'top-1': ('.4g', 'accuracy/top1'),
    'top-5': ('.4g', 'accuracy/top5'),
    'mAP': ('.4g', 'coco/bbox_mAP'),
    'mAP50': (
        '.4g',
        'pascal_voc/AP50',
        'pascal_voc/mAP',
        'coco/bbox_mAP_50',
    ),
    'NLL': ('.4g', 'calibration/nll'),
    'ECE': ('.4g', 'calibration/ece'),
    'AURC': ('.4g', 'calibration/aurc'),
}
SCORING = {
    'sparsity': ('.3g', 'sparsity'),
    'scoring s': ('.3g', 'time'),
    'stability': ('.3g', 'stability'),
    'largest growth': ('.3g', 'largest_growth'),
    'mean size of SD at scoring': ('.3g', 'size_of_sd'),
    'overlap with plain': ('.3g', 'overlap_with_plain'),
    'plain with plain': ('.3g', 'noise_floor'),
}
#: How others are shown; with three digits by default.
FORMATS = {
    'step': 'd',
    's / iteration': '.2f',
    **{h: form for h, (form, *_) in {**EVALUATION, **SCORING}.items()},
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        help='AP50 of these classes of VOC, and the mean over them',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        rows = [row_of(run, args.classes) for run in args.runs]
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [
        [f'{run.parent.name}/{run.name}', *(shown(row, c) for c in columns)]
        for run, row in zip(args.runs, rows)
    ]
    print(markdown_table(['run', *columns], cells), end='')


def row_of(run: Path, classes: Sequence[str] = ()) -> dict[str, Quantity]:
    """The figures of one run by heading.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        ValueError: It did not evaluate one of the classes, or its report
            cannot be read.
    """
    log, result = Log.of(run), read_result(run)
    row = {'step': Quantity(log.evaluations[-1]['step'])}
    row |= found(result, 'metric', EVALUATION)
    if classes:
        missing = [c for c in classes if average_precision(c) not in result]
        if missing:
            raise ValueError(
                f'{run} has evaluated no AP50 of {", ".join(missing)}: '
                '--classes takes names of classes of VOC that it has'
            )
        row |= {name: result[average_precision(name)] for name in classes}
        mean = statistics.mean(row[name].value for name in classes)
        row['mean of these'] = Quantity(mean)
    row['last loss'] = result['training/last_loss']
    row['s / iteration'] = Quantity(log.training[-1]['time'], 's')
    return row | found(result, 'scoring', SCORING)


def average_precision(name: str) -> str:
    return f'metric/pascal_voc/AP50_{name}'


def found(
    result: dict[str, Quantity], part: str, headings: dict[str, tuple]
) -> dict[str, Quantity]:
    """Of a part of a result, what there is of these headings."""
    row = {}
    for heading, (_, *names) in headings.items():
        there = [name for name in names if f'{part}/{name}' in result]
        if there:
            row[heading] = result[f'{part}/{there[0]}']
    return row


def shown(row: dict[str, Quantity], heading: str) -> str:
    if heading not in row:
        return ''
    return format(row[heading].value, FORMATS.get(heading, '.3f'))


if __name__ == '__main__':
    main()
