"""What a finished run measured, as numbers with units."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from .analysis import Report, read_report
from .quantities import Quantity
from .run_files import REPORT

# Of what a scoring has found, which is told to a log too.
_SCORING = 'scoring/'


@dataclass(frozen=True)
class Log:
    """The lines of a run's ``scalars.json``, of all its starts in order.

    Attributes:
        training: Lines of training, oldest first.
        evaluations: Lines of evaluations.
    """

    training: list[dict]
    evaluations: list[dict]

    @property
    def by_iteration(self) -> dict[int, dict]:
        """Lines of training; of what was resumed and repeated the later."""
        return {
            line['iter']: line
            for line in sorted(self.training, key=itemgetter('iter'))
        }

    @property
    def iteration_time(self) -> float:
        """Median of the seconds of an iteration."""
        return statistics.median(line['time'] for line in self.training)

    @property
    def epoch_time(self) -> float | None:
        """Seconds of an epoch: iterations of it times the median of theirs.

        ``None`` for a training that does not count epochs.
        """
        if 'epoch' not in self.training[-1]:
            return None
        first: dict[int, int] = {}  # which is logged, of each epoch
        for step, line in self.by_iteration.items():
            first.setdefault(line['epoch'], step)
        begin, end = min(first), max(first)
        if begin == end:  # the end of an epoch is not always logged
            iterations = max(self.by_iteration) / end
        else:
            iterations = (first[end] - first[begin]) / (end - begin)
        return iterations * self.iteration_time

    @classmethod
    def of(cls, work_dir: str | Path) -> 'Log':
        """Read the log of a run.

        Raises:
            FileNotFoundError: The folder holds no log of a training.
        """
        training, evaluations = [], []
        for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
            for entry in _entries(path):
                if 'loss' in entry:
                    training.append(entry)
                elif not any(name.startswith(_SCORING) for name in entry):
                    evaluations.append(entry)
        if not training:
            raise FileNotFoundError(
                f'{work_dir} holds no log of a training: give the work dir '
                'of a run'
            )
        return cls(training, evaluations)


def _entries(path: Path) -> Iterable[dict]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # cut off by a kill
            continue


def read_result(work_dir: str | Path) -> dict[str, Quantity]:
    """What a run measured at its end, by name.

    ``metric/…`` are those of the last evaluation of a training, never of the
    best one, or of the last test where there was no training; ``training/…``
    and ``scoring/…`` say what it cost and what was seen on the way.

    Raises:
        FileNotFoundError: The folder holds no run that was evaluated.
        ReportError: Its ``epsd/report.json`` cannot be read.
    """
    work_dir = Path(work_dir)
    try:
        log = Log.of(work_dir)
    except FileNotFoundError:
        return _with_kinds(_of_evaluation(_last_test(work_dir)))
    if not log.evaluations:
        raise _not_evaluated(work_dir)
    result = _of_evaluation(log.evaluations[-1]) | _of_training(log)
    report = work_dir / REPORT
    if report.is_file():
        result |= _of_scoring(read_report(report))
    return _with_kinds(result)


def scoring_of(report: Report) -> dict[str, Quantity]:
    """What the report of a scoring says, as :func:`read_result` has it."""
    return _with_kinds(_of_scoring(report))


def scores_of(line: Mapping[str, Any]) -> dict[str, float]:
    """What a line of an evaluation says of the model, and not of the test."""
    return {
        name: value
        for name, value in line.items()
        if '/' in name and isinstance(value, (int, float))
    }


def _last_test(work_dir: Path) -> dict:
    """What ``tools/test.py`` has written last."""
    paths = work_dir.glob('*/*.json')
    paths = sorted(p for p in paths if p.stem == p.parent.name)
    if not paths:
        raise _not_evaluated(work_dir)
    return json.loads(paths[-1].read_text())


def _not_evaluated(work_dir: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f'{work_dir} holds no log of a run that was evaluated: give the '
        'work dir of a finished run'
    )


def _with_kinds(values: Mapping[str, float | None]) -> dict[str, Quantity]:
    return {
        name: Quantity.of(name, value)
        for name, value in values.items()
        if value is not None
    }


def _of_evaluation(line: Mapping[str, Any]) -> dict[str, float]:
    return {f'metric/{name}': v for name, v in scores_of(line).items()}


def _of_training(log: Log) -> dict[str, float | None]:
    lines = log.training
    distilled = [x['loss_sd'] for x in lines if 'loss_sd' in x]
    losses = [line['loss'] for line in log.by_iteration.values()]
    return {
        'training/iterations': max(x['iter'] for x in lines),
        'training/iteration_time': log.iteration_time,
        'training/epoch_time': log.epoch_time,
        'training/last_loss': statistics.mean(losses[-10:]),
        'training/first_loss_sd': distilled[0] if distilled else None,
        'training/gpu_memory': max(
            (x['memory'] for x in lines if 'memory' in x), default=None
        ),
    }


def _of_scoring(report: Report) -> dict[str, float | None]:
    growth = [n['growth'] for n in report['steps'] if 'growth' in n]
    outputs = [n['outputs'] for n in report['steps'] if 'outputs' in n]
    sd = [abs(each['sd']) for each in report['terms'] if 'sd' in each]
    found = dict(
        sparsity=report['sparsity'],
        kept=report['kept'],
        time=report['seconds'],
        peak_memory=report['peak_memory'],
        evaluations=len(report['terms']),
        output_images=sum(each['images'] for each in outputs) or None,
        output_passes=sum(each['passes'] for each in outputs) or None,
        stability=report['stability'],
        largest_growth=max(growth, default=None),
        size_of_sd=statistics.mean(sd) if sd else None,
        overlap_with_plain=report.get('overlap_with_plain'),
        noise_floor=report.get('overlap_noise_floor'),
    )
    return {f'{_SCORING}{name}': value for name, value in found.items()}
