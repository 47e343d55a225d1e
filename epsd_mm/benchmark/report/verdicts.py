"""What a report says of claims: of the suite's own, and of all others."""

from collections.abc import Iterator

from epsd_mm.engine.variants import VARIANTS
from epsd_mm.pages import Block, Note, Section, Table

from ..comparison import Comparison, Verdict
from ..folders import Folders
from ..statistics import FEWEST_PAIRS
from .claims import CLAIMS
from .evidence import NOT_TESTED, Evidence, Finding, by_weight, overall
from .text import interval, pairs

# So many findings are beside a claim; all of them are in the table below.
_SHOWN = 3


def in_short(comparison: Comparison) -> Section:
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
    blocks: list[Block] = []
    if rows:
        headings = ('claim', 'verdict', 'difference, 95 % interval', 'why')
        blocks += [
            Table(headings, rows),
            Note(
                f'{_named(comparison.finished_before)} They are tested once, '
                'by an exact sign-flip test over paired seeds; p is '
                'two-sided and adjusted for the number of claims (Holm). A '
                'verdict is that of the test, whatever the interval beside '
                'it. Nothing else in this report was tested.'
            ),
        ]
    else:
        text.append('This suite claims nothing: all below are descriptions.')
    if differing := comparison.differing():
        shown = '; '.join(f'{n} {", ".join(v)}' for n, v in differing.items())
        blocks.append(
            Note(f'Mind that cells did not all run with the same: {shown}.')
        )
    return Section('In short', text, [*blocks, _methods(comparison)])


def _named(finished_before: int | None) -> str:
    """When the claims were named, as far as the folder can show it."""
    if finished_before == 0:
        return 'The claims, and their seeds, were named before anything ran.'
    when = 'were not noted before cells ran'
    if finished_before is not None:
        cells = (
            'one cell' if finished_before == 1 else f'{finished_before} cells'
        )
        when = f'were noted when {cells} had a result'
    return (
        f'Mind that the claims, or their seeds, {when}: nothing in this '
        'folder shows that they were named before results were seen, which '
        'the test takes for granted.'
    )


def _methods(comparison: Comparison) -> Table:
    """What the methods are, whatever they are called."""
    rows = []
    for method in comparison.suite.methods:
        arm = next(arm for arm in comparison.arms if arm.method == method)
        traits = comparison.traits(arm)
        what = VARIANTS.get(traits.role, 'masks of another run')
        if (lender := comparison.lender(arm)) is not None:
            shuffled = comparison.suite.methods[method].shuffled
            what = f'masks of {lender.method}' + ', shuffled' * shuffled
        rows.append(
            [
                method,
                what,
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


def one_by_one(comparison: Comparison, folders: Folders) -> Section:
    """What the cells say of each claim of the catalogue."""
    evidence = Evidence(comparison, folders)
    rows, details, missing = [], [], []
    for claim in CLAIMS:
        title = f'{claim.name}. {claim.says}'
        found = by_weight(list(claim.find(evidence)))
        if not found:
            missing.append([title, f'It takes {claim.needs}.'])
            continue
        shown = [f'{each.what}: {each.figures}' for each in found[:_SHOWN]]
        if len(found) > _SHOWN:
            shown.append(f'and {len(found) - _SHOWN} more below')
        rows.append([title, overall(found), ';\n'.join(shown)])
        details += [[claim.name, *_detail(comparison, f)] for f in found]
    text = [
        'Where a comparison is one of those above, its verdict is that of '
        'the test; every other is a description, read from the 95 % interval '
        'of the paired difference, and with so many of them some intervals '
        'miss zero by chance.'
    ]
    blocks = []
    if rows:
        headings = ('compared', 'figures', 'verdict', 'cells')
        blocks = [
            Table(('claim', 'verdict', 'figures'), rows),
            Table(
                ('claim', *headings),
                details,
                folded='Every comparison and its cells',
            ),
        ]
    if missing:
        count = f'{len(missing)} of the {len(CLAIMS)} claims'
        blocks.append(
            Table(
                ('claim', 'what it takes'),
                missing,
                folded=f'{NOT_TESTED[0].upper()}{NOT_TESTED[1:]}: {count}',
            )
        )
    return Section('Claims, one by one', text, blocks)


def _detail(comparison: Comparison, finding: Finding) -> list[str]:
    cells = '; '.join(
        f'{cell.name} {cell.key}'
        for arm in finding.arms
        for cell in comparison.cells(arm)
    )
    return [finding.what, finding.figures, finding.verdict, cells]
