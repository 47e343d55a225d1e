"""What a report says of confidence: calibration, and risk at coverage."""

from collections.abc import Iterator, Mapping

import numpy as np

from epsd_mm.evaluation import Predictions, expected_calibration_error
from epsd_mm.pages import Block, Figure, Section, Table

from ..comparison import Arm, Comparison
from ..folders import Folders
from ..statistics import FEWEST_PAIRS, Summary
from . import figures
from .text import spread

_CALIBRATION = {
    'metric/calibration/ece': 'expected calibration error',
    'metric/calibration/nll': 'negative log-likelihood',
    'metric/calibration/aurc': 'area under risk-coverage',
}
# Of fewer, a single error decides.
_COVERAGE = np.linspace(0.05, 1, 96)
_SHOWN = (0.5, 0.8, 1.0)
_MEANING = {
    'images': 'Coverage is the share of the test images that are answered, '
    'the most confident first; risk is what is wrong among the answers.',
    'objects': 'Coverage is the number of detections that are looked at, the '
    'most confident first, as a share of the objects there are; risk is what '
    'is wrong among them: of another class, overlapping no object by half, '
    'or the second one of an object. Calibration errors are of all '
    'detections.',
}

_Seeds = Mapping[int, Predictions]


def reliability(
    comparison: Comparison, folders: Folders, setup: str
) -> Section | None:
    """How far confidence can be trusted; None where no cell tells."""
    arms = comparison.arms_of(setup)
    measured = []
    for arm in arms:
        found = [comparison.summary(arm, metric) for metric in _CALIBRATION]
        if any(found):
            measured.append([str(arm), *map(spread, found)])
    kept = {arm: folders.predictions(arm) for arm in arms}
    kept = {arm: by_seed for arm, by_seed in kept.items() if by_seed}
    if not measured and not kept:
        return None
    text = ['Of the last epoch; smaller is better; mean ± standard deviation.']
    blocks: list[Block] = []
    if measured:
        headings = ('method', *_CALIBRATION.values())
        blocks.append(Table(headings, measured))
    if kept:
        kinds = {p.of for by_seed in kept.values() for p in by_seed.values()}
        text += [_MEANING[kind] for kind in sorted(kinds)]
        blocks += [*_drawn(comparison, setup, kept), _risks(kept)]
    missing = sum(
        len(comparison.cells(a)) - len(kept.get(a, ())) for a in arms
    )
    if missing:
        text.append(
            f'{missing} finished cells have kept no predictions (they ran '
            'elsewhere, by an earlier version, or without labels) and are '
            'in no figure of risk and coverage.'
        )
    title = f'Calibration and risk-coverage{comparison.place(setup)}'
    return Section(title, text, blocks)


def _drawn(
    comparison: Comparison, setup: str, kept: Mapping[Arm, _Seeds]
) -> Iterator[Figure]:
    for sparsity in comparison.suite.sparsities or [None]:
        curves = {
            str(arm): _curve(list(by_seed.values()))
            for arm, by_seed in kept.items()
            if arm.sparsity in (None, sparsity)
        }
        yield Figure(
            f'{setup}_{sparsity}_risk_coverage',
            figures.risk_coverage(_COVERAGE, curves),
            'Means over seeds, and bands of their 95 % intervals (Student) '
            f'from {FEWEST_PAIRS} seeds on.',
        )


def _curve(seeds: list[Predictions]) -> np.ndarray:
    """Mean and both ends at each coverage, shape (3, K)."""
    columns = zip(*(each.risk(_COVERAGE) for each in seeds))
    points = []
    for values in columns:
        if np.isfinite(values).all():
            summary = Summary.of(values)
            ends = (summary.mean, summary.mean)
            if summary.n >= FEWEST_PAIRS:
                ends = summary.interval()
            points.append((summary.mean, *ends))
        else:
            points.append((np.nan, np.nan, np.nan))
    return np.array(points).T


def _risks(kept: Mapping[Arm, _Seeds]) -> Table:
    rows = []
    for arm, by_seed in kept.items():
        risks = [each.risk(np.array(_SHOWN)) for each in by_seed.values()]
        errors = [
            expected_calibration_error(each.confidence, each.correct)
            for each in by_seed.values()
            if len(each.confidence)
        ]
        columns = [*zip(*risks), errors]
        rows.append(
            [
                str(arm),
                *(
                    spread(Summary.of(values))
                    if len(values) and np.isfinite(values).all()
                    else ''
                    for values in columns
                ),
                str(len(by_seed)),
            ]
        )
    return Table(
        (
            'method',
            *(f'wrong at coverage {share:g}' for share in _SHOWN),
            'expected calibration error',
            'seeds',
        ),
        rows,
        folded='Risk at three coverages',
    )
