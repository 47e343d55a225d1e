"""A table of finished runs: what they measured last, and how they scored.

Each argument is the work dir of a run of tools/train.py. The figures are
those of the last evaluation in its log (never of the best one), of
epsd/report.json, and the seconds of a training iteration without loading.

    python tools/analysis_tools/compare_runs.py work_dirs/a work_dirs/b
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from epsd_mm.tables import markdown_table

#: Heading, and the names that a figure has in the logs.
METRICS = {
    'top-1': ('accuracy/top1',),
    'top-5': ('accuracy/top5',),
    'mAP50': ('pascal_voc/AP50', 'pascal_voc/mAP'),
    'NLL': ('calibration/nll',),
    'ECE': ('calibration/ece',),
    'AURC': ('calibration/aurc',),
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
    rows = [row_of(run, args.classes) for run in args.runs]
    columns = list(dict.fromkeys(c for row in rows for c in row))
    cells = [[row.get(column, '') for column in columns] for row in rows]
    print(markdown_table(columns, cells), end='')


def row_of(run: Path, classes: Sequence[str] = ()) -> dict[str, str]:
    """The figures of one run, formatted, by heading.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        KeyError: It did not evaluate one of the classes.
    """
    training, evaluation = read_logs(run)
    row = {
        'run': f'{run.parent.name}/{run.name}',
        'step': str(evaluation['step']),
    }
    for heading, names in METRICS.items():
        found = [evaluation[name] for name in names if name in evaluation]
        if found:
            row[heading] = f'{found[0]:.4g}'
    if classes:
        found = [evaluation[f'pascal_voc/AP50_{name}'] for name in classes]
        row |= {name: f'{ap:.3f}' for name, ap in zip(classes, found)}
        row['mean of these'] = f'{statistics.mean(found):.3f}'
    row['last loss'] = f'{statistics.mean(x["loss"] for x in training):.3f}'
    row['s / iteration'] = f'{training[-1]["time"]:.2f}'
    report = run / 'epsd' / 'report.json'
    if report.is_file():
        row |= scoring_of(json.loads(report.read_text()))
    return row


def scoring_of(report: dict) -> dict[str, str]:
    """What a report of scoring says, likewise."""
    growth = [
        notes['growth'] for notes in report['steps'] if 'growth' in notes
    ]
    sd = [abs(terms['sd']) for terms in report['terms'] if 'sd' in terms]
    figures = {
        'sparsity': report['sparsity'],
        'scoring s': report['seconds'],
        'stability': report['stability'],
        'largest growth': max(growth, default=None),
        'mean size of SD at scoring': statistics.mean(sd) if sd else None,
        'overlap with plain': report.get('overlap_with_plain'),
        'plain with plain': report.get('overlap_noise_floor'),
    }
    return {
        heading: f'{value:.3g}'
        for heading, value in figures.items()
        if value is not None
    }


def read_logs(run: Path) -> tuple[list[dict], dict]:
    """The last ten training lines and the last evaluation of a run."""
    training, evaluations = [], []
    for path in sorted(run.glob('*/vis_data/scalars.json')):
        for text in path.read_text().splitlines():
            entry = json.loads(text)
            (training if 'loss' in entry else evaluations).append(entry)
    if not training or not evaluations:
        raise FileNotFoundError(
            f'{run} holds no log of a run that was evaluated: give the work '
            'dir of a finished run'
        )
    return training[-10:], evaluations[-1]


if __name__ == '__main__':
    main()
