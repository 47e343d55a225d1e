"""Claims that are named once results are there are told from others."""

import json

import pytest

from epsd_mm.benchmark.claimed import FILE, Noted, note_claims, noted
from epsd_mm.benchmark.suite import Suite
from tests.helpers.suites import CONFIG

CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = {{'dense': dict(variant='dense'), 'epsd': dict()}}
sparsities = [0.9]
seeds = [0, 1, 2]
claims = [dict(name='C', setup='a', first='epsd', second='dense',
               sparsity=0.9)]
"""


def finished_before(suite, folder):
    found = noted(suite, folder)
    return found and found.finished


@pytest.fixture
def suite(tmp_path):
    def read(content=CONTENT):
        path = tmp_path / 'suite.py'
        path.write_text(content)
        return Suite.load(path)

    return read


def test_what_was_claimed_first_stays_so(suite, tmp_path):
    assert finished_before(suite(), tmp_path) is None
    for finished in (0, 4):
        note_claims(suite(), tmp_path, finished)
        assert finished_before(suite(), tmp_path) == 0


@pytest.mark.parametrize(
    'old, new',
    [
        ('[0, 1, 2]', '[0, 1, 2, 3]'),
        ("first='epsd', second='dense'", "first='dense', second='epsd'"),
        ('accuracy/top1', 'accuracy/top5'),
    ],
)
def test_what_a_test_depends_on_is_another_claim(old, new, suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    edited = suite(CONTENT.replace(old, new))
    assert finished_before(edited, tmp_path) is None
    note_claims(edited, tmp_path, 4)
    assert finished_before(edited, tmp_path) == 4
    assert finished_before(suite(), tmp_path) == 0


def test_other_words_are_the_same_claim(suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    edited = CONTENT.replace("'test'", "'study'").replace('[0, 1', '[1, 0')
    assert finished_before(suite(edited), tmp_path) == 0


def test_a_suite_without_claims_notes_nothing(suite, tmp_path):
    note_claims(suite(CONTENT + 'claims = []'), tmp_path, 0)
    assert not (tmp_path / FILE).exists()


def test_a_damaged_note_shows_nothing(suite, tmp_path):
    (tmp_path / FILE).write_text('[')
    assert finished_before(suite(), tmp_path) is None


def ran(folder):
    """A cell has left a result, whatever its key."""
    cell = folder / 'cells' / 'key'
    cell.mkdir(parents=True)
    (cell / 'result.json').write_text('{}')


CHANGED = CONTENT.replace("'epsd': dict()", "'epsd': dict(criterion='SNIP')")


def test_a_method_that_is_changed_under_its_name_is_told(suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    assert noted(suite(), tmp_path) == Noted(0, [])
    ran(tmp_path)
    # None of the cells as they are now has a result.
    note_claims(suite(CHANGED), tmp_path, 0)
    assert noted(suite(CHANGED), tmp_path) == Noted(0, ['a/epsd/0.9'])
    assert noted(suite(), tmp_path) == Noted(0, [])


def test_both_sides_of_a_claim_are_compared(suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    ran(tmp_path)
    old = "metric='accuracy/top1'"
    options = "options={'train_cfg.max_epochs': 3}"
    edited = suite(CONTENT.replace(old, f'{old}, {options}'))
    both = ['a/dense', 'a/epsd/0.9']
    assert sorted(noted(edited, tmp_path).changed) == both


def test_what_claims_leave_out_may_change(suite, tmp_path):
    more = "methods['SNIP'] = dict(criterion={})\n"
    note_claims(suite(CONTENT + more.format("'SNIP'")), tmp_path, 0)
    edited = suite(CONTENT + more.format("'GraSP'"))
    assert noted(edited, tmp_path) == Noted(0, [])


def test_what_is_changed_before_any_result_is_noted_anew(suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    note_claims(suite(CHANGED), tmp_path, 0)
    assert noted(suite(CHANGED), tmp_path) == Noted(0, [])


def test_results_that_came_from_elsewhere_keep_the_first_note(suite, tmp_path):
    note_claims(suite(), tmp_path, 4)
    note_claims(suite(CHANGED), tmp_path, 0)
    assert noted(suite(CHANGED), tmp_path) == Noted(4, ['a/epsd/0.9'])


def test_notes_without_keys_are_read(suite, tmp_path):
    note_claims(suite(), tmp_path, 0)
    path = tmp_path / FILE
    ((content, _),) = json.loads(path.read_text()).items()
    path.write_text(json.dumps({content: 0}))
    ran(tmp_path)
    note_claims(suite(), tmp_path, 4)
    assert noted(suite(), tmp_path) == Noted(0, None)
