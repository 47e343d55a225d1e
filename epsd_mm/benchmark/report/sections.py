"""What a report says, from the results of a suite."""

import math
from collections.abc import Iterator

from epsd_mm.pages import Block, Figure, Note, Section, Table

from ..comparison import LEVEL, Arm, Comparison
from ..costs import widths
from ..folders import Folders
from ..statistics import FEWEST_PAIRS, Difference, Summary
from ..wording import cell_count
from . import figures
from .expenses import expenses
from .published import published_table
from .reliability import reliability
from .sizes import real_sizes
from .text import difference_unit, interval, spread
from .trade_offs import trade_offs
from .verdicts import in_short, one_by_one

_OF_DIFFERENCES = (
    'difference',
    'mean and 95 % interval',
    'probability of improvement',
    'p',
    'smallest p of so many pairs',
    'would have been seen',
    'pairs',
)
# Longer tables are folded.
_FEW_ROWS = 12


def sections(comparison: Comparison, folders: Folders) -> Iterator[Section]:
    """The parts of a report but for masks and first steps."""
    yield in_short(comparison)
    for setup in comparison.suite.setups:
        yield _results(comparison, folders, setup)
        yield _differences(comparison, setup)
    yield one_by_one(comparison, folders)
    for setup in comparison.suite.setups:
        yield expenses(comparison, setup)
        smaller = trade_offs(comparison, setup)
        if smaller is not None:
            yield smaller
        trusted = reliability(comparison, folders, setup)
        if trusted is not None:
            yield trusted


def _results(comparison: Comparison, folders: Folders, setup: str) -> Section:
    about = comparison.suite.setups[setup]
    metric = comparison.primary(setup)
    unit = comparison.unit(metric)
    curves: dict = {}
    levels: dict = {}
    table: dict[str, dict] = {}
    lost = 0
    for arm in comparison.arms_of(setup):
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
    columns = list(
        dict.fromkeys(a.sparsity for a in comparison.arms_of(setup))
    )
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
        f'{"Lower" if about.lower_is_better else "Higher"} is better. The '
        'last epoch, never the best one; mean ± standard deviation (number '
        'of seeds).'
    )
    if lost:
        text.append(
            f'{cell_count(lost)} failed, or ended without a number: what '
            'is left is not a fair sample of their methods.'
        )
    if sizes := real_sizes(comparison, folders, setup):
        text.append(sizes)
    known = published_table(comparison, setup)
    if known is not None:
        blocks.append(known)
        text.append(
            'Published figures are of the same data set, network and '
            'sparsity, trained by the recipe of their authors.'
        )
    return Section(f'{about.metric}{comparison.place(setup)}', text, blocks)


def _differences(comparison: Comparison, setup: str) -> Section:
    references = _references(comparison, setup)
    rows = []
    drawn: dict[Arm, dict[str, Difference]] = {}
    apart: dict[str, list[str]] = {}
    for reference in references:
        for arm in comparison.arms_of(setup):
            sparsities = {arm.sparsity, reference.sparsity} - {None}
            if arm == reference or len(sparsities) > 1:
                continue
            found = comparison.gain(reference, arm)
            if found is None:
                continue
            told = comparison.told(reference, arm)
            rows.append(_difference_row(comparison, *told, found))
            for said in comparison.apart(*told):
                apart.setdefault(said, []).append(told[0].against(told[1]))
            # One method, and what has a sparsity: the table has the others.
            first = reference.method == references[0].method
            pruned = None not in (arm.sparsity, reference.sparsity)
            if first and pruned and found.n > 1:
                drawn.setdefault(reference, {})[arm.method] = found
    blocks: list[Block] = [
        Figure(
            f'{setup}_{reference.sparsity}_differences',
            figures.forest(
                differences, _axis(comparison, setup, f'gain of {reference}')
            ),
            f'{reference}: to the right of the line it does better than '
            'the other. Seed by seed, with 95 % intervals.',
        )
        for reference, differences in drawn.items()
    ]
    title = f'Paired differences{comparison.place(setup)}'
    if not rows:
        return Section(title, ['No seed has two methods to compare yet.'])
    folded = 'Every difference' if len(rows) > _FEW_ROWS else ''
    blocks.append(Table(_OF_DIFFERENCES, rows, folded))
    blocks += [Note(f'{"; ".join(n)}: {said}.') for said, n in apart.items()]
    text = [
        'Runs of one seed share initialisation and data order'
        f'{_but_of_other_widths(comparison, setup)}. Descriptive '
        'but for the claims above, p included. “Would have been seen”: the '
        'difference that this test, of one comparison at the level '
        f'{LEVEL}, finds four times in five at this spread; none where so '
        'few pairs cannot reach it.'
    ]
    return Section(title, text, blocks)


def _but_of_other_widths(comparison: Comparison, setup: str) -> str:
    """Which methods cannot have the initial weights of the others."""
    others = dict.fromkeys(
        arm.method
        for arm in comparison.arms_of(setup)
        if comparison.traits(arm).student
        or set(widths(comparison, arm).values()) != {1.0}
    )
    if not others:
        return ''
    return (
        f', but for {", ".join(others)}: networks of other widths draw '
        'initial weights of their own and share the order of the data alone'
    )


def _difference_row(
    comparison: Comparison, first: Arm, second: Arm, found: Difference
) -> list[str]:
    unit = comparison.unit(comparison.primary(first.setup))
    return [
        first.against(second),
        interval(found, unit),
        f'{found.improvement:.2f}',
        f'{found.p:.3g}',
        f'{found.smallest_p:.3g}',
        _seen(found.seen_from, unit),
        str(found.n),
    ]


def _seen(difference: float, unit: str) -> str:
    if math.isnan(difference):
        return ''
    if math.isinf(difference):
        return 'none'
    return f'{difference:.2g}{difference_unit(unit)}'


def _references(comparison: Comparison, setup: str) -> list[Arm]:
    """What others are compared with: EPSD, or what comes first."""
    done = [arm for arm in comparison.arms_of(setup) if comparison.cells(arm)]
    epsd = [arm for arm in comparison.with_role(setup, 'epsd') if arm in done]
    return epsd or done[:1]


def _axis(comparison: Comparison, setup: str, what: str) -> str:
    metric = comparison.suite.setups[setup].metric
    unit = difference_unit(comparison.unit(comparison.primary(setup)))
    return f'{what} in {metric}{"," * bool(unit)}{unit}'


def _ends(summary: Summary) -> tuple[float, float, float]:
    if summary.n < FEWEST_PAIRS:
        return summary.mean, summary.mean, summary.mean
    return summary.mean, *summary.interval()
