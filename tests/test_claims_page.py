"""The page of suites lists what their reports ask."""

import re
import runpy
from pathlib import Path

import pytest

from epsd_mm.benchmark.report.claims import CLAIMS

DOCS = Path(__file__).parents[1] / 'docs'
SCRIPT = DOCS / 'write_claims.py'
PAGE = (DOCS / 'benchmark_suite.md').read_text()


@pytest.fixture(scope='module')
def written():
    return runpy.run_path(str(SCRIPT))['written']


def test_the_table_is_what_its_script_writes(written):
    assert written(PAGE) == PAGE


def test_each_claim_has_a_row_of_three_cells():
    rows = re.findall(r'^\| (C\d+) \| ([^|]+) \| ([^|]+) \|$', PAGE, re.M)
    assert [name for name, *_ in rows] == [f'C{i}' for i in range(1, 15)]
    for claim, (name, says, needs) in zip(CLAIMS, rows, strict=True):
        assert (claim.name, claim.says, claim.needs) == (name, says, needs)


def test_the_table_needs_its_place(written):
    with pytest.raises(ValueError, match='has not the lines'):
        written(PAGE.replace('<!-- up to here -->', ''))
