"""What a report says of networks that are smaller for real."""

from epsd_mm.pages import Figure, Section, Table

from ..comparison import Arm, Comparison
from ..costs import epoch_seconds, relative, widths
from . import figures
from .text import spread

_DONE, _WHOLE = 'saved/multiply_adds', 'saved/dense_multiply_adds'
_HEADINGS = ('method', 'multiply-adds an image', '× dense', 'an epoch')
_HEADINGS += ('× dense, time',)


def trade_offs(comparison: Comparison, setup: str) -> Section | None:
    """The metric against costs; None where no network is compact.

    A dense network has the multiply-adds of the one that the compact ones
    were made from, where its config is that.
    """
    arms = comparison.arms_of(setup)
    wholes = [
        value
        for arm in arms
        for value in comparison.available(arm, _WHOLE).values()
    ]
    if not wholes:
        return None
    whole = sum(wholes) / len(wholes)
    origin = next(a for a in arms if comparison.available(a, _WHOLE))
    model = _model(comparison, origin)
    dense = comparison.with_role(setup, 'dense')[:1]
    base = [epoch_seconds(comparison, arm) for arm in dense]
    metric = comparison.primary(setup)
    about = comparison.suite.setups[setup].metric
    unit = comparison.unit(metric)
    rows, by_work, by_time = [], {}, {}
    for arm in arms:
        summary = comparison.summary(arm, metric)
        work = _mean(comparison.available(arm, _DONE))
        if work is None and arm.sparsity is None:
            alike = _model(comparison, arm) == model
            share = 1.0 if alike else _mean(widths(comparison, arm))
            work = share and share * whole
        elif work is None:
            continue  # zeros are computed
        if summary is None:
            continue
        seconds = epoch_seconds(comparison, arm)
        ratios = relative(seconds, *base) if base else {}
        rows.append(
            [
                str(arm),
                f'{work / 1e6:,.0f} M' if work else '',
                f'{work / whole:.3f}' if work else '',
                f'{_mean(seconds):.3g} s' if seconds else '',
                f'{_mean(ratios):.2f}' if ratios else '',
                f'{spread(summary, unit)} ({summary.n})',
            ]
        )
        if work:
            point = work / 1e6, summary.mean
            by_work.setdefault(arm.method, []).append(point)
        if seconds:
            point = _mean(seconds), summary.mean
            by_time.setdefault(arm.method, []).append(point)
    drawn = {'M multiply-adds an image': by_work}
    if by_time:
        drawn['seconds an epoch'] = by_time
    text = [
        'Networks that lost channels before their first step. Multiply-adds '
        'are counted from the saved file: those of prunable layers on a '
        'batch of training, by image, partners included. Seconds an epoch '
        'are measured, beside whatever else the machine did; milliseconds '
        'of inference are not measured in cells. Compact networks of a seed '
        'start from what is left of the initial weights that the dense one '
        'has; one that is narrower by its config cannot, and shares the '
        'order of the data alone. Its multiply-adds are told by what share '
        'of those of the dense one it has in training, where cells have '
        'counted them. Peak memory above includes scoring, which sees the '
        'whole network.'
    ]
    return Section(
        f'Smaller before the first step{comparison.place(setup)}',
        text,
        [
            Figure(
                f'{setup}_trade_offs',
                figures.against_costs(drawn, f'{about}{unit}'),
                'Means over seeds.',
            ),
            Table((*_HEADINGS, about), rows),
        ],
    )


def _model(comparison: Comparison, arm: Arm) -> dict | None:
    cells = comparison.cells(arm)
    return cells[0].config.model.to_dict() if cells else None


def _mean(values: dict[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
