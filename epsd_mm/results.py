"""What a finished run measured, as numbers with units."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .analysis import read_report

#: Units by the end of a metric's name in the logs; '1' for the rest.
_UNITS = {'accuracy/top1': '%', 'accuracy/top5': '%'}


@dataclass(frozen=True)
class Quantity:
    """A number and its unit.

    Attributes:
        value: The number.
        unit: Its unit; ``'1'`` for shares and the like.
    """

    value: float
    unit: str = '1'


@dataclass(frozen=True)
class Log:
    """The lines of a run's ``scalars.json``, of all its starts in order.

    Attributes:
        training: Lines of training, oldest first.
        evaluations: Lines of evaluations.
    """

    training: list[dict]
    evaluations: list[dict]

    @classmethod
    def of(cls, work_dir: str | Path) -> 'Log':
        """Read the log of a run.

        Raises:
            FileNotFoundError: The folder holds no log of a training.
        """
        training, evaluations = [], []
        for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
            for entry in _entries(path):
                (training if 'loss' in entry else evaluations).append(entry)
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

    ``metric/…`` are those of the last evaluation, never of the best one;
    ``training/…`` and ``scoring/…`` say what it cost and what was seen on
    the way.

    Raises:
        FileNotFoundError: The folder holds no run that was evaluated.
    """
    log = Log.of(work_dir)
    if not log.evaluations:
        raise FileNotFoundError(
            f'{work_dir} holds no log of a run that was evaluated: give the '
            'work dir of a finished run'
        )
    result = {
        f'metric/{name}': Quantity(value, _UNITS.get(name, '1'))
        for name, value in log.evaluations[-1].items()
        if '/' in name and isinstance(value, (int, float))
    }
    result |= _of_training(log.training)
    report = Path(work_dir) / 'epsd' / 'report.json'
    if report.is_file():
        result |= _of_scoring(read_report(report))
    return result


def _of_training(lines: list[dict]) -> dict[str, Quantity]:
    found = {
        'training/iterations': Quantity(max(x['iter'] for x in lines)),
        'training/iteration_time': Quantity(
            statistics.median(x['time'] for x in lines), 's'
        ),
        'training/last_loss': Quantity(
            statistics.mean(x['loss'] for x in lines[-10:])
        ),
    }
    distilled = [x['loss_sd'] for x in lines if 'loss_sd' in x]
    if distilled:
        found['training/first_loss_sd'] = Quantity(distilled[0])
    memory = [x['memory'] for x in lines if 'memory' in x]
    if memory:
        found['training/gpu_memory'] = Quantity(max(memory), 'MiB')
    return found


def _of_scoring(report: Mapping) -> dict[str, Quantity]:
    growth = [n['growth'] for n in report['steps'] if 'growth' in n]
    terms = report['terms']
    sd = [abs(each['sd']) for each in terms if 'sd' in each]
    found = {
        'sparsity': (report['sparsity'], '1'),
        'kept': (report['kept'], '1'),
        'time': (report['seconds'], 's'),
        'peak_memory': (report['peak_memory'], 'B'),
        'evaluations': (len(terms), '1'),
        'stability': (report['stability'], '1'),
        'largest_growth': (max(growth, default=None), '1'),
        'size_of_sd': (statistics.mean(sd) if sd else None, '1'),
        'overlap_with_plain': (report.get('overlap_with_plain'), '1'),
        'noise_floor': (report.get('overlap_noise_floor'), '1'),
    }
    return {
        f'scoring/{name}': Quantity(value, unit)
        for name, (value, unit) in found.items()
        if value is not None
    }
