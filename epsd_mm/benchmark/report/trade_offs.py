"""What a report says of networks that are smaller for real."""

from epsd_mm.pages import Figure, Section, Table

from ..comparison import Arm, Comparison
from ..costs import epoch_over_dense, epoch_seconds, relative, widths
from . import figures
from .text import spread

_DONE, _WHOLE = 'saved/multiply_adds', 'saved/dense_multiply_adds'
_HEADINGS = ('method', 'multiply-adds an image', '× dense', 'an epoch')
_HEADINGS += ('× dense, time',)
_CUT = (
    'Networks that lost channels before their first step. Multiply-adds '
    'of these are counted from the saved file: those of prunable layers on a '
    'batch of training, by image, partners included. Compact networks of a '
    'seed start from what is left of the initial weights that the dense one '
    'has, or of a trained network, where they come after one. Their peak '
    'memory above includes scoring, which sees the whole network.'
)
_STUDENTS = (
    'Students of pruned networks: dense ones, each layer as wide as gives it '
    'about as many weights as the trained and pruned network that teaches it '
    'keeps there. They start from initial weights of their own, and share '
    'the order of the data alone. Multiply-adds of these are those of all '
    'layers with a weight, in a step of training, by image. The teacher '
    'looks at each image of their training too: that is in their seconds and '
    'their peak memory, and not in their multiply-adds. What it has cost '
    'before is in none of them, see above.'
)
_OF_ALL = (
    'Seconds an epoch are measured, beside whatever else the machine did, '
    'and told by those of the dense network where one processor ran both; '
    'milliseconds of inference are not measured in cells. A network that is '
    'narrower by its config shares the order of the data alone; its '
    'multiply-adds are told by what share of those of the dense one it has '
    'in training, where cells have counted them.'
)


def trade_offs(comparison: Comparison, setup: str) -> Section | None:
    """The metric against costs; None where no network is smaller.

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
    metric = comparison.primary(setup)
    about = comparison.suite.setups[setup].metric
    unit = comparison.unit(metric)
    rows, by_work, by_time = [], {}, {}
    for arm in arms:
        summary = comparison.summary(arm, metric)
        done = comparison.available(arm, _DONE)
        if done:
            work = _mean(done)
            # Of its own whole: not all cells count the same layers.
            share = _mean(relative(done, comparison.available(arm, _WHOLE)))
        elif arm.sparsity is None:
            alike = _model(comparison, arm) == model
            share = 1.0 if alike else _mean(widths(comparison, arm))
            work = share and share * whole
        else:
            continue  # zeros are computed
        if summary is None:
            continue
        seconds = epoch_seconds(comparison, arm)
        ratios = epoch_over_dense(comparison, arm)
        rows.append(
            [
                str(arm),
                _million(work) if work else '',
                f'{share:.3f}' if share else '',
                f'{_mean(seconds):.3g} s' if seconds else '',
                f'{_mean(ratios):.2f}' if ratios else '',
                f'{spread(summary, unit)} ({summary.n})',
            ]
        )
        if work:
            point = work / 1e6, summary.mean
            by_work.setdefault(arm.method, []).append(point)
        if ratios:  # others ran on another machine
            point = _mean(seconds), summary.mean
            by_time.setdefault(arm.method, []).append(point)
    drawn = {'M multiply-adds an image': by_work}
    if by_time:
        drawn['seconds an epoch'] = by_time
    students = {
        comparison.traits(arm).student
        for arm in arms
        if comparison.available(arm, _WHOLE)
    }
    said = {False: _CUT, True: _STUDENTS}
    text = [said[each] for each in sorted(students)] + [_OF_ALL]
    title = 'Smaller networks'
    if students == {False}:
        title = 'Smaller before the first step'
    return Section(
        f'{title}{comparison.place(setup)}',
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


def _million(count: float) -> str:
    count /= 1e6
    return f'{count:,.0f} M' if count >= 1 else f'{count:.2g} M'


def _mean(values: dict[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
