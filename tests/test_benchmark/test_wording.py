"""Numbers of cells are said as people say them."""

import pytest

from epsd_mm.benchmark.wording import cell_count


@pytest.mark.parametrize(
    'count, said', [(0, '0 cells'), (1, '1 cell'), (2, '2 cells')]
)
def test_one_is_no_plural(count, said):
    assert cell_count(count) == said


def test_a_kind_stands_before_what_is_counted():
    assert cell_count(1, 'finished') == '1 finished cell'
