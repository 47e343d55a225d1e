"""The densities on the way to the final one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epsd_mm.pruning import FORCE, NTKSAP, IterSNIP, Schedule, SynFlow


@pytest.mark.parametrize(
    'kind, final, want',
    [
        ('exponential', 0.99, [1 - 0.1, 0.99]),
        ('exponential', 0.999, [1 - 0.1, 1 - 0.01, 0.999]),
        ('exponential', 0.9375, [0.5, 0.75, 0.875, 0.9375]),
        ('linear', 0.9, [0.3, 0.6, 0.9]),
        ('linear', 0.5, [0.125, 0.25, 0.375, 0.5]),
    ],
)
def test_values(kind, final, want):
    assert Schedule(len(want), kind).sparsities(final) == pytest.approx(want)


@pytest.mark.parametrize('kind', ['exponential', 'linear'])
@given(st.integers(1, 200), st.floats(0.001, 0.9999))
def test_the_last_is_exact_and_each_removes_more(kind, rounds, final):
    values = Schedule(rounds, kind).sparsities(final)
    assert len(values) == rounds
    assert values[-1] == final
    assert all(a < b for a, b in zip([0.0, *values], values))


def test_by_default_there_is_one_round():
    assert Schedule().sparsities(0.3) == [0.3]


def test_exponential_rounds_remove_a_constant_share_of_what_is_left():
    left = [1 - s for s in [0.0, *Schedule(7).sparsities(0.95)]]
    shares = [after / before for before, after in zip(left, left[1:])]
    assert shares == pytest.approx([0.05 ** (1 / 7)] * 7)


def test_linear_rounds_remove_a_constant_number():
    values = [0.0, *Schedule(7, 'linear').sparsities(0.95)]
    removed = [after - before for before, after in zip(values, values[1:])]
    assert removed == pytest.approx([0.95 / 7] * 7)


@pytest.mark.parametrize('build', [Schedule, SynFlow, IterSNIP, FORCE, NTKSAP])
@pytest.mark.parametrize(
    'options, said',
    [
        ((0,), 'rounds=0 must be an integer >= 1'),
        ((-3,), 'rounds=-3'),
        ((2.5,), 'rounds=2.5'),
        (('4',), "rounds='4'"),
        ((None,), 'rounds=None'),
        ((3, 'cosine'), "schedule='cosine' .* exponential, linear"),
        ((3, None), 'schedule=None'),
    ],
)
def test_settings_that_make_no_sense(build, options, said):
    with pytest.raises(ValueError, match=said):
        build(*options)


@pytest.mark.parametrize(
    'build, rounds',
    [(SynFlow, 100), (IterSNIP, 60), (FORCE, 60), (NTKSAP, 20)],
)
def test_rounds_of_the_papers(build, rounds):
    assert build().schedule == Schedule(rounds, 'exponential')
    assert build(5, 'linear').schedule == Schedule(5, 'linear')
