"""Whether a set-up can test anything, and which way is better."""

from dataclasses import replace

import pytest

from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.folders import Folders
from epsd_mm.benchmark.report.sections import sections
from epsd_mm.pages import Note
from tests.helpers.suites import METRIC, compared, suite_of

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
    'finished_before, said',
    [
        (0, 'were named before anything ran'),
        (1, 'were noted when one cell had a result: nothing in this folder'),
        (3, 'were noted when 3 cells had a result: nothing in this folder'),
        (None, 'were not noted before cells ran: nothing in this folder'),
    ],
)
def test_when_claims_were_named_is_said(finished_before, said, tmp_path):
    at = dict(setup='a', first='EPSD', second='combination', sparsity=0.9)
    suite = suite_of(tmp_path, METHODS, claims=[dict(name='C', **at)])
    found = Comparison(suite, {}, finished_before)
    assert said in in_short(found)


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


def test_several_setups_have_sections_of_their_own(tmp_path):
    suite = suite_of(tmp_path, METHODS, seeds=2)
    other = replace(
        suite.setups['a'], name='b', options={'train_cfg.max_epochs': 2}
    )
    suite = replace(suite, setups={**suite.setups, 'b': other})
    titles = list(parts(compared(suite, lambda cell: {METRIC: 1.0})))
    assert len(titles) == 8 and len(set(titles)) == 8
    assert {'What it costs (a)', 'What it costs (b)'} <= set(titles)


def test_results_come_first_and_claims_without_evidence_are_folded(tmp_path):
    suite = suite_of(tmp_path, METHODS)
    found = parts(compared(suite, lambda cell: {METRIC: 1.0 + cell.seed}))
    titles = list(found)
    first = ['In short', 'accuracy/top1', 'Paired differences']
    assert titles[:4] == [*first, 'Claims, one by one']
    asked, _, missing = found['Claims, one by one'].blocks
    assert [row[0][:3] for row in asked.rows] == ['C1.']
    assert missing.folded == 'Not tested here: 13 of the 14 claims'
    needs = {row[0].partition('.')[0]: row[1] for row in missing.rows}
    assert needs['C13'].startswith('It takes EPSD, and a method under its')


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
