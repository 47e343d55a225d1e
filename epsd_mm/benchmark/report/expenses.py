"""What a report says of costs."""

import math

from epsd_mm.pages import Block, Figure, Section, Table

from ..comparison import Arm, Comparison
from ..costs import (
    epoch_seconds,
    relative,
    scoring_images,
    total_images,
    total_over_dense,
    total_passes,
    total_seconds,
    training_images,
)
from ..uncounted import uncounted
from . import figures

_PASSES = '× dense, passes'
_FEWER = 'without zeros'
# Of which the first that a cell has is shown; bytes of its unit.
_MEMORY = {
    'training/gpu_memory': 2**20,
    'training/peak_memory': 1,
    'scoring/peak_memory': 1,
}


def expenses(comparison: Comparison, setup: str) -> Section:
    """What the methods of a set-up cost, beside the dense one."""
    dense = comparison.dense(setup)
    images = [total_images(comparison, arm) for arm in dense]
    passes = [total_passes(comparison, arm) for arm in dense]
    rows = []
    for arm in _by_cost(comparison, setup):
        if not comparison.cells(arm):
            continue
        scoring = comparison.available(arm, 'scoring/time')
        more = '> ' if uncounted(comparison, arm) else ''
        fewer = total_passes(comparison, arm, zeros=False)
        rows.append(
            [
                str(arm),
                _mean(scoring, ' s'),
                _mean(epoch_seconds(comparison, arm), ' s'),
                _mean(total_seconds(comparison, arm), ' s', more),
                _multiple(total_over_dense(comparison, arm), more),
                _mean(scoring_images(comparison, arm)),
                _mean(training_images(comparison, arm)),
                _times(total_images(comparison, arm), images, more),
                _times(total_passes(comparison, arm), passes, more),
                _times(fewer, passes, more),
                _peak(comparison, arm),
            ]
        )
    headings = (
        'method',
        'scoring',
        'an epoch',
        'in all',
        '× dense, time',
        'images scored',
        'images trained',
        '× dense, images',
        _PASSES,
        _FEWER,
        'peak memory',
    )
    text = [
        'Times are measured, on machines with whatever else they did: upper '
        'bounds. “In all” is scoring and every iteration, without '
        'evaluations; zeros make no iteration faster. Images are counted from'
        ' steps and batch sizes: every image that is looked at, partners of '
        'CS-KD, repeated halves of DLB and the batch that it is shown before '
        'it scores included. Looking at those of a step once more adds to '
        'the passes alone, as a teacher does, PS-KD before it scores, and '
        'the way back. Totals are those of a '
        'method and of all cells that it comes after, each counted once: '
        'every round of a lottery ticket, the training of a teacher. “× '
        'dense” is the mean of ratios at the same seed, of time where one '
        'processor ran both and all that they come after (cells that do not '
        'name theirs: one commit). Passes are those of '
        'an image, forward: an image that is trained on counts three, a '
        'partner one, one that a teacher looks at one more, a product with '
        'the Hessian six and evaluating its step again for it two (it takes '
        'three in layers other than convolutions, so that products of a '
        'transformer are counted too low by one in nine), without partners '
        'and teachers, which scores of the plain loss do without too, and '
        'one of a smaller network its share of the '
        'multiply-adds of the dense one; “without zeros” is what would be '
        'left of them if multiplying by a weight that is zero cost nothing, '
        'as it does nowhere here, and scoring cost what it does; of a '
        'teacher, by one that is zero at its end where its student has '
        'counted them, else by as many as were zero on average while it '
        'trained. Each round of a lottery ticket is trained from the step '
        'that it goes back to. Methods stand in the order of their passes. '
        'Memory is measured, of the GPU where there is one, else of the '
        'process'
        f'{_until_scored(comparison, setup)}.'
        f'{_not_counted(comparison, setup)}'
    ]
    blocks: list[Block] = [Table(headings, rows)]
    if drawn := _drawn(comparison, setup, *passes):
        about = comparison.suite.setups[setup].metric
        unit = comparison.unit(comparison.primary(setup))
        blocks.insert(
            0,
            Figure(
                f'{setup}_costs',
                figures.against_costs(drawn, f'{about}{unit}'),
                'Against the cost of all that led there, in trainings of the '
                'dense network: passes as they are, and without zeros. Means '
                'over seeds; a line joins the sparsities of a method.',
            ),
        )
    return Section(f'What it costs{comparison.place(setup)}', text, blocks)


def _drawn(
    comparison: Comparison, setup: str, *base: dict[int, float]
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By cost: by method, pairs of cost and metric."""
    drawn: dict = {}
    for arm in comparison.arms_of(setup):
        summary = comparison.summary(arm, comparison.primary(setup))
        for name, zeros in ((_PASSES, True), (_FEWER, False)):
            passes = total_passes(comparison, arm, zeros)
            ratios = relative(passes, *base) if base else {}
            if ratios and summary is not None:
                point = sum(ratios.values()) / len(ratios), summary.mean
                methods = drawn.setdefault(name, {})
                methods.setdefault(arm.method, []).append(point)
    return drawn


def _by_cost(comparison: Comparison, setup: str) -> list[Arm]:
    """Arms of a set-up, the cheapest first; those without a cost last."""

    def cost(arm: Arm) -> float:
        values = total_passes(comparison, arm).values()
        return sum(values) / len(values) if values else math.inf

    return sorted(comparison.arms_of(setup), key=cost)


def _peak(comparison: Comparison, arm: Arm) -> str:
    for metric, unit in _MEMORY.items():
        if found := comparison.available(arm, metric):
            return f'{max(found.values()) * unit / 2**30:.2f} GiB'
    return ''


def _until_scored(comparison: Comparison, setup: str) -> str:
    whole = ('training/gpu_memory', 'training/peak_memory')
    if any(
        comparison.available(arm, metric)
        for arm in comparison.arms_of(setup)
        for metric in whole
    ):
        return ''
    return ' until it had scored'


def _not_counted(comparison: Comparison, setup: str) -> str:
    """A sentence on what is behind files."""
    found = {
        str(arm): ' and '.join(what)
        for arm in comparison.arms_of(setup)
        if comparison.cells(arm) and (what := uncounted(comparison, arm))
    }
    if not found:
        return ''
    named = ', '.join(f'{what} of {arm}' for arm, what in found.items())
    return (
        ' Totals with > are too low, here and in the figure: what came from '
        'a file was made by a training or scoring that is not known, and '
        f'none of that is counted ({named}); a teacher from a file is taken '
        'to be as large as the dense network.'
    )


def _mean(values: dict[int, float], unit: str = '', more: str = '') -> str:
    if not values:
        return ''
    mean = sum(values.values()) / len(values)
    shown = f'{mean:,.0f}' if mean >= 1000 else f'{mean:.3g}'
    return f'{more}{shown}{unit}'


def _times(
    values: dict[int, float], base: list[dict[int, float]], more: str
) -> str:
    return _multiple(relative(values, *base) if base else {}, more)


def _multiple(ratios: dict[int, float], more: str) -> str:
    if not ratios:
        return ''
    return f'{more}{sum(ratios.values()) / len(ratios):.2f}'
