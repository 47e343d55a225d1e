"""What a report says of claims: of the suite's own, and of all others."""

from collections.abc import Iterator

from epsd_mm.pages import Block, Note, Section, Table

from ..claimed import Noted
from ..comparison import LEVEL, Comparison, Verdict
from ..conditions import of_changed_code
from ..folders import Folders
from ..statistics import FEWEST_PAIRS
from ..wording import pair_count
from .claims import CLAIMS
from .evidence import Evidence, Finding, by_weight, overall, unseen
from .method_table import method_table
from .text import interval

_SENTENCES = {
    'epsd': 'EPSD removes weights before training starts, by scores in which '
    'self-distillation takes part, and trains what is left with it.',
    'simple-combination': 'Simple Combination trains with self-distillation, '
    'too, and scores without it.',
}
# So many findings are beside a claim; all of them are in the table below.
_SHOWN = 3


def in_short(comparison: Comparison) -> Section:
    """What someone reads who reads nothing else."""
    rows = [_claimed(comparison, found) for found in comparison.verdicts()]
    setups = comparison.suite.setups
    text = [
        sentence
        for role, sentence in _SENTENCES.items()
        if any(
            comparison.traits(arm).prunes_early
            for setup in setups
            for arm in comparison.with_role(setup, role)
        )
    ]
    text += [line for setup in setups for line in _regime(comparison, setup)]
    blocks: list[Block] = []
    if rows:
        headings = ('claim', 'verdict', 'difference, 95 % interval', 'why')
        blocks.append(Table(headings, rows))
    if warning := of_changed_code(entry for _, entry in comparison.finished):
        blocks.append(Note(warning))
    if rows:
        blocks.append(
            Note(
                f'{_named(comparison.noted)} They are tested once, '
                'by an exact sign-flip test over paired seeds; p is '
                'two-sided and adjusted for the number of claims (Holm). A '
                'verdict is that of the test, whatever the interval beside '
                'it. Nothing else in this report was tested.'
            )
        )
    else:
        text.append('This suite claims nothing: all below are descriptions.')
    if differing := comparison.differing():
        shown = '; '.join(f'{n} {", ".join(v)}' for n, v in differing.items())
        blocks.append(
            Note(f'Mind that cells did not all run with the same: {shown}.')
        )
    return Section('In short', text, [*blocks, method_table(comparison)])


def _named(noted: Noted | None) -> str:
    """When the claims were named, as far as the folder can show it."""
    if noted is not None and noted.finished == 0:
        return (
            'The claims, and their seeds, were named before anything ran.'
            + _changed(noted)
        )
    when = 'were not noted before cells ran'
    if noted is not None:
        cells = (
            'one cell' if noted.finished == 1 else f'{noted.finished} cells'
        )
        when = f'were noted when {cells} had a result'
    return (
        f'Mind that the claims, or their seeds, {when}: nothing in this '
        'folder shows that they were named before results were seen, which '
        'the test takes for granted.'
    ) + (_changed(noted) if noted else '')


def _changed(noted: Noted) -> str:
    """Whether what the claims compare is what it was when they were noted."""
    if noted.changed is None:
        return ' What their methods were then was not noted.'
    if not noted.changed:
        return ''
    shown = ', '.join(f'“{name}”' for name in noted.changed)
    return (
        f' Mind that {shown} {"was" if len(noted.changed) == 1 else "were"} '
        'changed since: other settings, or another recipe.'
    )


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
    helped = {comparison.traits(arm).training for arm, _ in benefits}
    alone = {
        arm.method: comparison.traits(arm).sd_loss
        for arm in comparison.with_role(setup, 'epsd')
        if comparison.traits(arm).training not in helped
    }
    asked = comparison.with_role(setup, 'epsd', 'simple-combination', 'later')
    if alone or (asked and not benefits):
        what = ', '.join(alone) if benefits else 'EPSD'
        losses = ', '.join(dict.fromkeys(alone.values()))
        yield (
            f'“{setup}” cannot test {what}: it has no dense network trained '
            'with and without the same self-distillation'
            f'{f" ({losses})" if losses else ""}, so that nobody knows '
            'whether that helps there at all.'
        )
    tested = [
        comparison.claim_arms(claim)[0]
        for claim in comparison.suite.claims
        if comparison.suite.methods[claim.second].variant == 'dense'
    ]
    for arm, found in benefits:
        n = 0 if found is None else found.n
        planned = len(comparison.suite.seeds)
        gain = f'{pair_count(n)} of {planned}'
        if n:
            gain = f'{interval(found, unit)}, p = {found.p:.3g}, {gain}'
        if arm not in tested:
            gain += '; described, not tested'
            gain += unseen(found) if n else ''
        if n < max(FEWEST_PAIRS, planned):
            yield (
                f'Whether “{setup}” can test EPSD is not known yet: it takes '
                f'that self-distillation ({arm}) helps the dense network '
                f'there ({gain}).'
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
    rows, details = [], []
    for claim in CLAIMS:
        title = f'{claim.name}. {claim.says}'
        found = by_weight(list(claim.find(evidence)))
        if not found:
            rows.append([title, overall(found), f'It takes {claim.needs}.'])
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
        'miss zero by chance. Of one that is not told apart stands beside it '
        'what the sign-flip test, of one comparison at the level '
        f'{LEVEL}, could have seen.'
    ]
    headings = 'claim', 'verdict', 'figures, or what it takes'
    blocks = [Table(headings, rows)]
    if details:
        blocks.append(
            Table(
                ('claim', 'compared', 'figures', 'verdict', 'cells'),
                details,
                folded='Every comparison and its cells',
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
