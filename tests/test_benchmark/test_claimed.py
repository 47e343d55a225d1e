"""Claims that are named once results are there are told from others."""

import pytest

from epsd_mm.benchmark.claimed import FILE, finished_before, note_claims
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
