"""What a report says, from the results of a suite."""

import math
from collections.abc import Iterator

from epsd_mm.engine.variants import VARIANTS

from ..comparison import Arm, Comparison, Verdict
from ..costs import (
    epoch_seconds,
    relative,
    scoring_images,
    total_images,
    total_seconds,
    training_images,
)
from ..folders import Folders
from ..statistics import FEWEST_PAIRS, Difference, Summary
from . import figures
from .blocks import Block, Figure, Section, Table
from .claims import CLAIMS
from .evidence import Evidence, Finding, by_weight, overall
from .published import published_table
from .text import difference_unit, interval, pairs, spread

_CALIBRATION = {
    'metric/calibration/ece': 'expected calibration error',
    'metric/calibration/nll': 'negative log-likelihood',
    'metric/calibration/aurc': 'area under risk-coverage',
}
# So many findings are beside a claim; all of them are in the table below.
_SHOWN = 3
# Longer tables are folded.
_FEW_ROWS = 12


def sections(comparison: Comparison, folders: Folders) -> Iterator[Section]:
    """The parts of a report but for masks and first steps."""
    yield _in_short(comparison)
    yield _catalogue(comparison, folders)
    for setup in comparison.suite.setups:
        yield _results(comparison, setup)
        yield _differences(comparison, setup)
        yield _costs(comparison, setup)
        calibration = _calibration(comparison, setup)
        if calibration is not None:
            yield calibration


def _in_short(comparison: Comparison) -> Section:
    """What someone reads who reads nothing else."""
    rows = [_claimed(comparison, found) for found in comparison.verdicts()]
    text = [
        'EPSD removes weights before training starts, by scores in which '
        'self-distillation takes part. Simple Combination scores without it. '
        'Both then train what is left with self-distillation.'
    ]
    text += [
        line
        for setup in comparison.suite.setups
        for line in _regime(comparison, setup)
    ]
    text.append(
        'Claimed before anything ran, and tested once, by an exact sign-flip '
        'test over paired seeds; p is two-sided and adjusted for the number '
        'of claims (Holm). Nothing else in this report was tested.'
        if rows
        else 'This suite claims nothing: all below are descriptions.'
    )
    headings = ('claim', 'verdict', 'difference, 95 % interval', 'why')
    blocks: list[Block] = [Table(headings, rows)] if rows else []
    blocks.append(_methods(comparison))
    return Section('In short', text, blocks)


def _methods(comparison: Comparison) -> Table:
    """What the methods are, whatever they are called."""
    rows = []
    for method in comparison.suite.methods:
        arm = next(arm for arm in comparison.arms if arm.method == method)
        traits = comparison.traits(arm)
        rows.append(
            [
                method,
                VARIANTS.get(traits.role, 'masks of another run'),
                traits.criterion or '',
                traits.sd_loss or '',
            ]
        )
    headings = ('method', 'what it is', 'criterion', 'self-distillation')
    return Table(headings, rows, folded='What the methods are')


def _claimed(comparison: Comparison, found: Verdict) -> list[str]:
    first, second = comparison.claim_arms(found.claim)
    unit = comparison.unit(comparison.primary(found.claim.setup))
    return [
        f'{found.claim.name}: {first.against(second, "beats")}'
        + comparison.place(found.claim.setup),
        found.verdict,
        interval(found.difference, unit),
        found.why,
    ]


def _regime(comparison: Comparison, setup: str) -> Iterator[str]:
    """Whether a set-up can tell anything of EPSD, in a sentence."""
    unit = comparison.unit(comparison.primary(setup))
    benefits = comparison.dense_benefit(setup)
    if not benefits:
        yield (
            f'“{setup}” cannot test EPSD: it has no dense network trained '
            'with and without self-distillation, so that nobody knows '
            'whether that helps there at all.'
        )
    for arm, found in benefits:
        n = 0 if found is None else found.n
        gain = f'{interval(found, unit)}, {pairs(n)}' if n else 'no pairs'
        planned = len(comparison.suite.seeds)
        if n < FEWEST_PAIRS or (found.low <= 0 and n < planned):
            yield (
                f'Whether “{setup}” can test EPSD is not known yet: it takes '
                f'that self-distillation ({arm}) helps the dense network '
                f'there ({gain} of {planned}).'
            )
        elif found.low > 0:
            yield (
                f'“{setup}” can test EPSD: self-distillation ({arm}) helps '
                f'the dense network there ({gain}).'
            )
        else:
            yield (
                f'“{setup}” cannot test EPSD: self-distillation ({arm}) is '
                f'not seen to help even the dense network there ({gain}).'
            )


def _catalogue(comparison: Comparison, folders: Folders) -> Section:
    evidence = Evidence(comparison, folders)
    rows, details = [], []
    for claim in CLAIMS:
        found = by_weight(list(claim.find(evidence)))
        shown = [f'{each.what}: {each.figures}' for each in found[:_SHOWN]]
        if not found:
            shown = [f'It takes {claim.needs}.']
        elif len(found) > _SHOWN:
            shown.append(f'and {len(found) - _SHOWN} more below')
        rows.append(
            [f'{claim.name}. {claim.says}', overall(found), ';\n'.join(shown)]
        )
        details += [[claim.name, *_detail(comparison, f)] for f in found]
    text = [
        'Where a comparison is one of those above, its verdict is that of '
        'the test; every other is a description, read from the 95 % interval '
        'of the paired difference, and with so many of them some intervals '
        'miss zero by chance.'
    ]
    blocks = [Table(('claim', 'verdict', 'figures'), rows)]
    if details:
        headings = ('claim', 'compared', 'figures', 'verdict', 'cells')
        blocks.append(
            Table(headings, details, folded='Every comparison and its cells')
        )
    return Section('Claims, one by one', text, blocks)


def _detail(comparison: Comparison, finding: Finding) -> list[str]:
    cells = '; '.join(
        f'{cell.name} {cell.key}'
        for arm in finding.arms
        for cell in comparison.cells(arm)
    )
    return [finding.what, finding.figures, finding.verdict, cells]


def _results(comparison: Comparison, setup: str) -> Section:
    about = comparison.suite.setups[setup]
    metric = comparison.primary(setup)
    unit = comparison.unit(metric)
    curves: dict = {}
    levels: dict = {}
    table: dict[str, dict] = {}
    lost = 0
    for arm in _arms(comparison, setup):
        lost += len(comparison.lost(arm, metric))
        summary = comparison.summary(arm, metric)
        if summary is None:
            continue
        shown = f'{spread(summary, unit)} ({summary.n})'
        table.setdefault(arm.method, {})[arm.sparsity] = shown
        ends = _ends(summary)
        if arm.sparsity is None:
            levels[arm.method] = ends
        else:
            curves.setdefault(arm.method, {})[arm.sparsity] = ends
    columns = list(dict.fromkeys(a.sparsity for a in _arms(comparison, setup)))
    blocks: list[Block] = [
        Table(
            (
                'method',
                *('dense' if s is None else f'at {s:.6g}' for s in columns),
            ),
            [
                [name, *(cells.get(s, '') for s in columns)]
                for name, cells in table.items()
            ],
        )
    ]
    if curves or levels:
        blocks.append(
            Figure(
                f'{setup}_results',
                figures.against_sparsity(
                    curves, levels, f'{about.metric}{unit}'
                ),
                'Means over seeds with 95 % intervals (Student), from three '
                'seeds on. They '
                'include what all methods of a seed have in common: for '
                'comparisons read the paired differences below.',
            )
        )
    text = [about.about] if about.about else []
    text.append(
        'The last epoch, never the best one; mean ± standard deviation '
        '(number of seeds).'
    )
    if lost:
        text.append(
            f'{lost} cells failed, or ended without a number: what is left '
            'is not a fair sample of their methods.'
        )
    known = published_table(comparison, setup)
    if known is not None:
        blocks.append(known)
        text.append(
            'Published figures are of the same data set, network and '
            'sparsity, trained by the recipe of their authors.'
        )
    return Section(f'{about.metric}{comparison.place(setup)}', text, blocks)


def _differences(comparison: Comparison, setup: str) -> Section:
    lower = comparison.suite.setups[setup].lower_is_better
    references = _references(comparison, setup)
    rows = []
    drawn: dict[Arm, dict[str, Difference]] = {}
    for reference in references:
        for arm in _arms(comparison, setup):
            comparable = arm.sparsity in (None, reference.sparsity)
            if arm == reference or not comparable:
                continue
            found = comparison.gain(reference, arm)
            if found is None:
                continue
            told = comparison.told(reference, arm)
            rows.append(_difference_row(comparison, *told, found))
            # One method, and what has a sparsity: the table has the others.
            first = reference.method == references[0].method
            if first and found.n > 1 and arm.sparsity is not None:
                drawn.setdefault(reference, {})[arm.method] = found
    blocks: list[Block] = [
        Figure(
            f'{setup}_{reference.sparsity}_differences',
            figures.forest(
                differences,
                _axis(
                    comparison,
                    setup,
                    f'other − {reference}'
                    if lower
                    else f'{reference} − other',
                ),
            ),
            f'{reference}: to the right of the line it does better than '
            'the other. Seed by seed, with 95 % intervals.',
        )
        for reference, differences in drawn.items()
    ]
    if rows:
        folded = 'Every difference' if len(rows) > _FEW_ROWS else ''
        blocks.append(Table(_OF_DIFFERENCES, rows, folded))
    text = [
        'Runs of one seed share initialisation and data order. Descriptive '
        'but for the claims above, p included. “Would have been seen”: the '
        'difference that a paired t-test finds four times in five at this '
        'spread.'
    ]
    place = comparison.place(setup)
    return Section(f'Paired differences{place}', text, blocks)


_OF_DIFFERENCES = (
    'difference',
    'mean and 95 % interval',
    'probability of improvement',
    'p',
    'smallest p of so many pairs',
    'would have been seen',
    'pairs',
)


def _difference_row(
    comparison: Comparison, first: Arm, second: Arm, found: Difference
) -> list[str]:
    unit = comparison.unit(comparison.primary(first.setup))
    seen = found.seen_from
    return [
        first.against(second),
        interval(found, unit),
        f'{found.improvement:.2f}',
        f'{found.p:.3g}',
        f'{found.smallest_p:.3g}',
        '' if math.isnan(seen) else f'{seen:.2g}{difference_unit(unit)}',
        str(found.n),
    ]


def _costs(comparison: Comparison, setup: str) -> Section:
    dense = comparison.with_role(setup, 'dense')[:1]
    seconds = [total_seconds(comparison, arm) for arm in dense]
    images = [total_images(comparison, arm) for arm in dense]
    rows = []
    for arm in _arms(comparison, setup):
        scoring = comparison.available(arm, 'scoring/time')
        rows.append(
            [
                str(arm),
                _mean(scoring, ' s'),
                _mean(epoch_seconds(comparison, arm), ' s'),
                _mean(total_seconds(comparison, arm), ' s'),
                _times(total_seconds(comparison, arm), *seconds),
                _mean(scoring_images(comparison, arm)),
                _mean(training_images(comparison, arm)),
                _times(total_images(comparison, arm), *images),
                _peak(comparison, arm),
            ]
        )
    headings = (
        'method',
        'scoring',
        'an epoch',
        'both in all',
        '× dense, time',
        'images scored',
        'images trained',
        '× dense, images',
        'peak memory',
    )
    text = [
        'Times are measured, on machines with whatever else they did: upper '
        'bounds. “In all” is scoring and every iteration, without '
        'evaluations; zeros make no iteration faster. Images are counted from '
        'steps and batch sizes: every image that is looked at, partners of '
        'CS-KD and repeated halves of DLB included. “× dense” is the mean of '
        'ratios at the same seed. Memory is measured, of the GPU where there '
        'is one, else of the process'
        f'{_until_scored(comparison, setup)}.'
    ]
    return Section(
        f'What it costs{comparison.place(setup)}',
        text,
        [Table(headings, rows)],
    )


_MEMORY = {
    'training/gpu_memory': 2**20,
    'training/peak_memory': 1,
    'scoring/peak_memory': 1,
}


def _peak(comparison: Comparison, arm: Arm) -> str:
    for metric, unit in _MEMORY.items():
        if found := comparison.available(arm, metric):
            return f'{max(found.values()) * unit / 2**30:.2f} GiB'
    return ''


def _until_scored(comparison: Comparison, setup: str) -> str:
    whole = ('training/gpu_memory', 'training/peak_memory')
    if any(
        comparison.available(arm, metric)
        for arm in _arms(comparison, setup)
        for metric in whole
    ):
        return ''
    return ' until it had scored'


def _calibration(comparison: Comparison, setup: str) -> Section | None:
    rows = []
    for arm in _arms(comparison, setup):
        found = [comparison.summary(arm, metric) for metric in _CALIBRATION]
        if any(found):
            rows.append([str(arm), *map(spread, found)])
    if not rows:
        return None
    return Section(
        f'Calibration and risk-coverage{comparison.place(setup)}',
        ['Of the last epoch; smaller is better; mean ± standard deviation.'],
        [Table(('method', *_CALIBRATION.values()), rows)],
    )


def _references(comparison: Comparison, setup: str) -> list[Arm]:
    """What others are compared with: EPSD as the suite has it, or all."""
    epsd = comparison.with_role(setup, 'epsd')
    return epsd or _arms(comparison, setup)[:1]


def _arms(comparison: Comparison, setup: str) -> list[Arm]:
    return [arm for arm in comparison.arms if arm.setup == setup]


def _axis(comparison: Comparison, setup: str, what: str) -> str:
    metric = comparison.suite.setups[setup].metric
    unit = difference_unit(comparison.unit(comparison.primary(setup)))
    return f'{what} in {metric}{"," * bool(unit)}{unit}'


def _ends(summary: Summary) -> tuple[float, float, float]:
    if summary.n < FEWEST_PAIRS:
        return summary.mean, summary.mean, summary.mean
    return summary.mean, *summary.interval()


def _mean(values: dict[int, float], unit: str = '') -> str:
    if not values:
        return ''
    mean = sum(values.values()) / len(values)
    return f'{mean:,.0f}{unit}' if mean >= 1000 else f'{mean:.3g}{unit}'


def _times(values: dict[int, float], *base: dict[int, float]) -> str:
    ratios = relative(values, *base) if base else {}
    if not ratios:
        return ''
    return f'{sum(ratios.values()) / len(ratios):.2f}'
