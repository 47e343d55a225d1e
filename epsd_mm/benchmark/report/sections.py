"""What a report says, from the results of a suite."""

import math
from collections.abc import Iterator

from ..comparison import Arm, Comparison
from ..statistics import FEWEST_PAIRS, Difference, Summary
from . import figures
from .blocks import Figure, Section, Table

_CALIBRATION = {
    'metric/calibration/ece': 'expected calibration error',
    'metric/calibration/nll': 'negative log-likelihood',
    'metric/calibration/aurc': 'area under risk-coverage',
}


def sections(comparison: Comparison) -> Iterator[Section]:
    """The parts of a report that the store alone can tell."""
    yield _claims(comparison)
    for setup in comparison.suite.setups:
        yield _regime(comparison, setup)
        yield _results(comparison, setup)
        yield _differences(comparison, setup)
        yield _costs(comparison, setup)
        calibration = _calibration(comparison, setup)
        if calibration is not None:
            yield calibration


def _claims(comparison: Comparison) -> Section:
    rows = []
    for found in comparison.verdicts():
        first, second = comparison.claim_arms(found.claim)
        unit = comparison.unit(comparison.primary(found.claim.setup))
        rows.append(
            [
                found.claim.name,
                f'{first} beats {second} ({found.claim.setup})',
                found.verdict,
                _interval(found.difference, unit),
                '' if found.p is None else f'{found.p:.3g}',
                found.why,
            ]
        )
    text = [
        'Named before anything ran; nothing else in this report was tested. '
        'P values are of an exact sign-flip test over paired seeds, '
        'two-sided, adjusted for the number of claims (Holm).'
    ]
    if not rows:
        text = ['This suite claims nothing: all below are descriptions.']
    headings = ('claim', '', 'verdict', 'difference', 'p', 'why')
    return Section('Claims', text, [Table(headings, rows)] if rows else [])


def _regime(comparison: Comparison, setup: str) -> Section:
    lines = []
    unit = comparison.unit(comparison.primary(setup))
    for arm, difference in comparison.dense_benefit(setup):
        if difference is None or difference.n < FEWEST_PAIRS:
            pairs = 0 if difference is None else difference.n
            lines.append(
                f'{arm}: not known yet ({pairs} pairs of seeds). Until it is, '
                'nothing below can speak for or against EPSD.'
            )
            continue
        shown = _interval(difference, unit)
        if difference.low > 0:
            lines.append(
                f'{arm}: yes, {shown} over the dense network without it.'
            )
        else:
            lines.append(
                f'{arm}: not seen ({shown} over the dense network without '
                'it). Self-distillation is a regulariser: where it does not '
                'help the dense network, a comparison cannot test EPSD.'
            )
    if not lines:
        lines = [
            'The suite has no dense network trained with and without it, so '
            'that this cannot be told, and nothing below can test EPSD.'
        ]
    return Section(
        f'Does self-distillation help here at all? ({setup})', lines
    )


def _results(comparison: Comparison, setup: str) -> Section:
    about = comparison.suite.setups[setup]
    metric = comparison.primary(setup)
    unit = comparison.unit(metric)
    rows, curves, levels = [], {}, {}
    for arm in _arms(comparison, setup):
        summary = comparison.summary(arm, metric)
        shown = '' if arm.sparsity is None else f'{arm.sparsity:.6g}'
        rows.append([arm.method, shown, _spread(summary, unit), _n(summary)])
        if summary is None:
            continue
        ends = summary.mean, *summary.interval()
        if arm.sparsity is None:
            levels[arm.method] = ends
        else:
            curves.setdefault(arm.method, {})[arm.sparsity] = ends
    blocks: list = [Table(('method', 'sparsity', about.metric, 'seeds'), rows)]
    if curves or levels:
        blocks.append(
            Figure(
                f'{setup}_results',
                figures.against_sparsity(
                    curves, levels, f'{about.metric}{unit}'
                ),
                'Means over seeds with 95 % intervals (Student). They '
                'include what all methods of a seed have in common: for '
                'comparisons read the paired differences below.',
            )
        )
    text = [about.about] if about.about else []
    text.append(
        'The last epoch, never the best one; mean ± standard deviation.'
    )
    return Section(f'{about.metric} ({setup})', text, blocks)


def _differences(comparison: Comparison, setup: str) -> Section:
    metric = comparison.primary(setup)
    unit = comparison.unit(metric)
    arms = _arms(comparison, setup)
    rows, drawn = [], {}
    for reference in _references(comparison, setup):
        for arm in arms:
            comparable = arm.sparsity in (None, reference.sparsity)
            if arm == reference or not comparable:
                continue
            found = comparison.difference(reference, arm, metric)
            if found is None:
                continue
            rows.append(
                [
                    f'{reference} − {arm}',
                    _interval(found, unit),
                    f'{found.improvement:.2f}',
                    f'{found.p:.3g}',
                    f'{found.smallest_p:.3g}',
                    ''
                    if math.isnan(found.seen_from)
                    else (f'{found.seen_from:.2g}{unit}'),
                    str(found.n),
                ]
            )
            if found.n > 1:
                drawn[f'{reference} − {arm}'] = found
    headings = (
        'difference',
        'mean and 95 % interval',
        'probability of improvement',
        'p',
        'smallest p of so many pairs',
        'would have been seen',
        'pairs',
    )
    blocks: list = [Table(headings, rows)] if rows else []
    if drawn:
        blocks.append(
            Figure(
                f'{setup}_differences',
                figures.forest(drawn, f'difference in {metric}{unit}'),
                'Seed by seed, with 95 % intervals.',
            )
        )
    text = [
        'Runs of one seed share initialisation and data order. Descriptive '
        'but for the claims above: with so many comparisons some intervals '
        'miss zero by chance. “Would have been seen”: the difference that a '
        'paired t-test finds four times in five at this spread.'
    ]
    return Section(f'Paired differences ({setup})', text, blocks)


def _costs(comparison: Comparison, setup: str) -> Section:
    arms = _arms(comparison, setup)
    dense = [
        arm
        for arm in arms
        if comparison.suite.methods[arm.method].variant == 'dense'
    ]
    base = comparison.available(dense[0], 'training/seconds') if dense else {}
    rows = []
    for arm in arms:
        total = comparison.available(arm, 'training/seconds')
        common = total.keys() & base.keys()
        relative = ''
        if common:
            share = sum(total[s] for s in common) / sum(
                base[s] for s in common
            )
            relative = f'{share:.2f}'
        rows.append(
            [
                str(arm),
                _number(comparison, arm, 'scoring/time', ' s'),
                _number(comparison, arm, 'training/iteration_time', ' s'),
                _number(comparison, arm, 'training/seconds', ' s'),
                relative,
                _number(comparison, arm, 'training/iterations', ''),
                _number(comparison, arm, 'scoring/peak_memory', ' GiB', 2**30),
            ]
        )
    headings = (
        'method',
        'scoring',
        'an iteration',
        'whole training',
        'x dense',
        'iterations',
        'peak memory until scored',
    )
    text = [
        'Wall time of the machines that ran the cells, with whatever else '
        'they did: an upper bound. Zeros make no iteration faster.'
    ]
    return Section(f'What it costs ({setup})', text, [Table(headings, rows)])


def _calibration(comparison: Comparison, setup: str) -> Section | None:
    rows = []
    for arm in _arms(comparison, setup):
        found = [comparison.summary(arm, metric) for metric in _CALIBRATION]
        if any(found):
            rows.append([str(arm), *(_spread(each, '', 3) for each in found)])
    if not rows:
        return None
    return Section(
        f'Calibration and risk-coverage ({setup})',
        ['Of the last epoch; smaller is better; mean ± standard deviation.'],
        [Table(('method', *_CALIBRATION.values()), rows)],
    )


def _references(comparison: Comparison, setup: str) -> list[Arm]:
    """What others are compared with: EPSD as the suite has it, or all."""
    methods = comparison.suite.methods
    epsd = [
        arm
        for arm in _arms(comparison, setup)
        if methods[arm.method].variant == 'epsd'
    ]
    return epsd or _arms(comparison, setup)[:1]


def _arms(comparison: Comparison, setup: str) -> list[Arm]:
    return [arm for arm in comparison.arms if arm.setup == setup]


def _number(
    comparison: Comparison, arm: Arm, metric: str, unit: str, by: float = 1
) -> str:
    summary = comparison.summary(arm, metric)
    return '' if summary is None else f'{summary.mean / by:.3g}{unit}'


def _spread(summary: Summary | None, unit: str, digits: int = 2) -> str:
    if summary is None:
        return ''
    if summary.n == 1:
        return f'{summary.mean:.{digits}f}{unit}'
    return f'{summary.mean:.{digits}f} ± {summary.std:.{digits}f}{unit}'


def _n(summary: Summary | None) -> str:
    return '0' if summary is None else str(summary.n)


def _interval(difference: Difference | None, unit: str) -> str:
    if difference is None:
        return ''
    if difference.n < 2:
        return f'{difference.mean:+.2f}{unit}'
    return (
        f'{difference.mean:+.2f} [{difference.low:+.2f}, '
        f'{difference.high:+.2f}]{unit}'
    )
