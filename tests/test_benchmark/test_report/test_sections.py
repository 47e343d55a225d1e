"""Whether a set-up can test anything, and which way is better."""

from dataclasses import replace

import pytest
from scipy import stats

from epsd_mm.benchmark.claimed import Noted
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report import verdicts
from epsd_mm.benchmark.report.sections import sections
from epsd_mm.pages import Note
from tests.helpers.suites import METRIC, compared, suite_of, with_environments

METHODS = {
    'dense': dict(variant='dense'),
    'SD': dict(variant='sd-only'),
    'EPSD': dict(),
    'combination': dict(variant='simple-combination'),
}


def parts(comparison):
    found = sections(comparison, Folders(comparison, 'nowhere'))
    return {section.title: section for section in found}


def in_short(comparison):
    """All that is said there, in tables or not."""
    section = parts(comparison)['In short']
    notes = [b.text for b in section.blocks if isinstance(b, Note)]
    return ' '.join([*section.text, *notes])


def regime(suite, gain, noise, seeds):
    def metrics(cell):
        own = gain + noise * (-1) ** cell.seed
        return {METRIC: 50.0 + cell.seed + own * (cell.method.name == 'SD')}

    everything = compared(suite, metrics)
    some = {
        cell.key: everything.entries[cell.key]
        for cell in suite.cells
        if cell.seed in range(seeds)
    }
    return in_short(Comparison(suite, some))


@pytest.mark.parametrize(
    'gain, noise, seeds, said',
    [
        (1.0, 0.1, 6, '“a” can test EPSD'),
        (1.0, 0.1, 2, 'Whether “a” can test EPSD is not known yet'),
        # A look at each seed would find something sooner or later.
        (1.0, 0.1, 4, 'Whether “a” can test EPSD is not known yet'),
        (0.1, 1.0, 4, 'Whether “a” can test EPSD is not known yet'),
        (0.1, 1.0, 6, '“a” cannot test EPSD'),
        (-1.0, 0.1, 6, '“a” cannot test EPSD'),
        (1.0, 0.1, 0, 'is not known yet'),
    ],
)
def test_a_setup_tests_epsd_where_distillation_helps_dense(
    gain, noise, seeds, said, tmp_path
):
    suite = suite_of(tmp_path, METHODS, seeds=6)
    assert said in regime(suite, gain, noise, seeds)


@pytest.mark.parametrize(
    'noted, said',
    [
        (Noted(0, []), 'were named before anything ran. They are tested'),
        (
            Noted(0, ['a/EPSD/0.9']),
            'before anything ran. Mind that “a/EPSD/0.9” was changed since',
        ),
        (Noted(0, None), 'ran. What their methods were then was not noted.'),
        (
            Noted(1, []),
            'were noted when one cell had a result: nothing in this folder',
        ),
        (
            Noted(3, ['a/EPSD/0.9']),
            'for granted. Mind that “a/EPSD/0.9” was changed since',
        ),
        (None, 'were not noted before cells ran: nothing in this folder'),
    ],
)
def test_when_claims_were_named_is_said(noted, said, tmp_path):
    at = dict(setup='a', first='EPSD', second='combination', sparsity=0.9)
    suite = suite_of(tmp_path, METHODS, claims=[dict(name='C', **at)])
    found = Comparison(suite, {}, noted)
    assert said in in_short(found)


def test_that_a_setup_tests_epsd_is_described_with_its_p(tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=6)
    said = regime(suite, 1.0, 0.1, 6)
    assert 'p = 0.0312, 6 pairs of 6; described, not tested' in said


def test_a_gain_that_is_not_seen_says_what_would_have_been(tmp_path):
    """Six pairs of ±1 vary by √1.2, and reach .05 where all have one sign."""
    suite = suite_of(tmp_path, METHODS, seeds=6)
    scale = 2 / stats.norm.ppf(0.8 ** (1 / 6)) / 1.2**0.5
    said = regime(suite, 0.1, scale, 6)
    assert 'cannot test EPSD' in said
    assert (
        'described, not tested; a difference of 2 would have been seen four '
        'times in five).'
    ) in said


def test_where_distillation_of_dense_is_a_claim_it_is_tested(tmp_path):
    claim = dict(name='C', setup='a', first='SD', second='dense')
    suite = suite_of(tmp_path, METHODS, seeds=6, claims=[claim])
    said = regime(suite, 1.0, 0.1, 6)
    assert 'p = 0.0312, 6 pairs of 6)' in said


def test_another_loss_says_nothing_of_that_of_epsd(tmp_path):
    other = dict(variant='sd-only', sd_loss='DLBLoss')
    suite = suite_of(tmp_path, METHODS | dict(SD=other), seeds=6)
    said = regime(suite, 1.0, 0.1, 6)
    assert '“a” can test EPSD' not in said
    assert '“a” cannot test EPSD: it has no dense network' in said
    assert 'the same self-distillation (CSKDLoss)' in said


def test_each_loss_of_epsd_takes_a_dense_network_of_its_own(tmp_path):
    methods = METHODS | {'EPSD, DLB': dict(sd_loss='DLBLoss')}
    said = regime(suite_of(tmp_path, methods, seeds=6), 1.0, 0.1, 6)
    assert '“a” can test EPSD: self-distillation (SD) helps' in said
    assert '“a” cannot test EPSD, DLB: it has no dense' in said


def test_without_epsd_any_loss_tells_whether_it_helps(tmp_path):
    methods = {name: METHODS[name] for name in ('dense', 'SD')}
    said = regime(suite_of(tmp_path, methods, seeds=6), 1.0, 0.1, 6)
    assert '“a” can test EPSD' in said


def test_of_epsd_nothing_is_said_where_it_is_not(tmp_path):
    methods = {'SNIP': dict(variant='prune-only', criterion='SNIP')}
    said = regime(suite_of(tmp_path, methods, seeds=3), 1.0, 0.0, 3)
    assert 'EPSD' not in said and 'Combination' not in said


def test_other_weights_of_the_terms_are_told(tmp_path):
    methods = {
        'EPSD': METHODS['EPSD'],
        'mostly SD': dict(score_weights=dict(task=1, sd=10)),
    }
    comparison = compared(
        suite_of(tmp_path, methods, seeds=1), lambda cell: {METRIC: 1.0}
    )
    *_, table = verdicts.in_short(comparison).blocks
    what = {row[0]: row[1] for row in table.rows}
    assert '×' not in what['EPSD']
    assert '1 × the task + 10 × self-distillation' in what['mostly SD']


def test_without_dense_networks_nobody_knows(tmp_path):
    methods = {'EPSD': METHODS['EPSD']}
    suite = suite_of(tmp_path, methods, seeds=3)
    assert '“a” cannot test EPSD: it has no dense network' in regime(
        suite, 1.0, 0.0, 3
    )


@pytest.mark.parametrize('better', ['higher', 'lower'])
def test_a_gain_is_what_is_better(better, tmp_path):
    """EPSD has one more of something that is good, or one less of a bad."""
    sign = 1 if better == 'higher' else -1
    claim = dict(name='C1', setup='a', first='EPSD', second='combination')
    suite = suite_of(
        tmp_path,
        METHODS,
        seeds=6,
        claims=[dict(claim, sparsity=0.9)],
        metric='mine/figure',
        better=better,
    )

    def metrics(cell):
        good = cell.method.name in ('EPSD', 'SD')
        own = sign * (1.0 + 0.1 * (-1) ** cell.seed) * good
        return {'metric/mine/figure': 50.0 + cell.seed + own}

    found = parts(compared(suite, metrics))
    (verdict,) = compared(suite, metrics).verdicts()
    assert verdict.verdict == 'supported' and verdict.difference.mean > 0
    assert 'can test EPSD: self-distillation (SD) helps' in ' '.join(
        found['In short'].text
    )
    difference = 'EPSD − combination' if sign > 0 else 'combination − EPSD'
    (c1, *_) = found['Claims, one by one'].blocks[0].rows
    assert c1[1] == 'in part: supported (1); not tested here (1)'
    assert f'{difference} at 0.9: +1.00' in c1[2]
    told = {
        row[0]: row[1] for row in found['Paired differences'].blocks[-1].rows
    }
    assert told[f'{difference} at 0.9'].startswith('+1.000 [')


def test_what_cells_did_not_all_run_with_is_said_at_the_top(tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=2)
    comparison = compared(suite, lambda cell: {METRIC: 1.0})
    assert 'Mind that' not in in_short(comparison)
    entries = {
        key: replace(entry, environment=dict(recipe_version=1, torch=version))
        for (key, entry), version in zip(
            comparison.entries.items(), ['2.12'] + ['2.13'] * 99
        )
    }
    text = in_short(Comparison(suite, entries))
    assert 'not all run with the same: torch 2.12, 2.13.' in text


def test_pairs_of_two_machines_are_named_below_the_differences(tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=2)
    comparison = with_environments(
        compared(suite, lambda cell: {METRIC: 1.0}),
        lambda cell: dict(processor=f'{cell.method.name == "combination"}'),
    )
    *_, note = parts(comparison)['Paired differences'].blocks
    assert isinstance(note, Note)
    assert note.text == (
        'EPSD − combination at 0.9: Mind that the two of a pair differ in '
        'processor: False against True (2).'
    )


def test_code_that_no_commit_has_heads_the_notes(tmp_path):
    at = dict(setup='a', first='EPSD', second='combination', sparsity=0.9)
    suite = suite_of(tmp_path, METHODS, claims=[dict(name='C', **at)])
    for commit in ('abc', 'abc-dirty'):
        comparison = compared(
            suite, lambda c: {METRIC: 1.0}, dict(commit=commit)
        )
        section = parts(comparison)['In short']
        first = next(b for b in section.blocks if isinstance(b, Note))
        warned = 'abc-dirty (16 cells)' in first.text
        assert warned == (commit != 'abc')


def test_networks_that_cannot_share_initial_weights_are_named(tmp_path):
    """A student, and one that is narrower; another loss is the same one."""
    methods = {
        'dense': dict(variant='dense'),
        'narrow': dict(
            variant='dense', options={'model.backbone.base_channels': 32}
        ),
        'smooth': dict(
            variant='dense', options={'model.head.loss.loss_weight': 2.0}
        ),
        'GMP': dict(variant='prune-only', policy='GMP'),
        'student': dict(student_of='GMP'),
    }

    def said(names):
        def metrics(cell):
            count = 25 if cell.method.name == 'narrow' else 100
            names = 'training/weights', 'training/multiply_adds'
            return {METRIC: 50.0 + cell.seed} | dict.fromkeys(names, count)

        some = {name: methods[name] for name in names}
        found = compared(suite_of(tmp_path, some, seeds=2), metrics)
        return parts(found)['Paired differences'].text[0]

    assert said(['dense', 'smooth', 'GMP']).startswith(
        'Runs of one seed share initialisation and data order. Desc'
    )
    assert said(methods).startswith(
        'Runs of one seed share initialisation and data order, but for '
        'narrow, student: networks of other widths draw initial weights of '
        'their own and share the order of the data alone. Desc'
    )


def test_several_setups_have_sections_of_their_own(tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=2)
    other = replace(
        suite.setups['a'], name='b', options={'train_cfg.max_epochs': 2}
    )
    suite = replace(suite, setups={**suite.setups, 'b': other})
    titles = list(parts(compared(suite, lambda cell: {METRIC: 1.0})))
    assert len(titles) == 8 and len(set(titles)) == 8
    assert {'What it costs (a)', 'What it costs (b)'} <= set(titles)


def test_results_come_first_and_each_claim_has_a_row(tmp_path):
    suite = suite_of(tmp_path, METHODS)
    found = parts(compared(suite, lambda cell: {METRIC: 1.0 + cell.seed}))
    titles = list(found)
    first = ['In short', 'accuracy/top1', 'Paired differences']
    assert titles[:4] == [*first, 'Claims, one by one']
    asked, every = found['Claims, one by one'].blocks
    assert not asked.folded and every.folded
    rows = {name.partition('.')[0]: rest for name, *rest in asked.rows}
    assert list(rows) == [f'C{i}' for i in range(1, 15)]
    assert [n for n, r in rows.items() if r[0] != 'not tested here'] == ['C1']
    assert rows['C13'][1].startswith('It takes EPSD, and a method under its')


@pytest.mark.parametrize(
    'done, rows',
    [
        (['dense'], None),
        (['dense', 'SD', 'combination'], 2),
        (['dense', 'SD', 'combination', 'EPSD'], 3),
    ],
)
def test_what_is_done_is_compared_before_the_rest_is(done, rows, tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=2)
    everything = compared(suite, lambda cell: {METRIC: 1.0 + cell.seed})
    some = {
        cell.key: everything.entries[cell.key]
        for cell in suite.cells
        if cell.method.name in done
    }
    found = parts(Comparison(suite, some))['Paired differences']
    if rows is None:
        assert not found.blocks and 'No seed has two' in found.text[0]
    else:
        assert len(found.blocks[-1].rows) == rows
