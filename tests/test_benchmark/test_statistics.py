"""What is said of paired runs, against definitions written out again."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from epsd_mm.benchmark.statistics import (
    Summary,
    detectable_difference,
    holm,
    paired_difference,
    probability_of_improvement,
    sign_flip_test,
    smallest_p,
)

small = st.lists(st.integers(-50, 50), min_size=1, max_size=8)


def flips_by_hand(values):
    """The share of sign patterns that lie as far from zero, exactly."""
    observed = abs(sum(values))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values)))
        for signs in product((1, -1), repeat=len(values))
    ]
    return sum(total >= observed for total in sums) / len(sums)


@given(small)
def test_sign_flips_are_counted_exactly(values):
    assert sign_flip_test(values) == flips_by_hand(values)


def test_rounding_does_not_hide_a_tie():
    values = [0.1, 0.2, 0.3]  # 0.1 + 0.2 is not 0.3, and order matters
    assert sign_flip_test(values) == 0.25
    assert sign_flip_test([0.1] * 10) == 2 / 2**10


@pytest.mark.parametrize(
    'n, p', [(1, 1.0), (3, 0.25), (5, 0.0625), (10, 2**-9)]
)
def test_the_smallest_p_is_reached_where_all_differences_agree(n, p):
    assert smallest_p(n) == p
    assert sign_flip_test(np.arange(1, n + 1)) == p


def test_many_pairs_are_sampled_near_the_normal_limit():
    values = np.random.default_rng(3).normal(0.4, 1, size=60)
    z = values.sum() / np.sqrt(np.square(values).sum())
    expected = 2 * stats.norm.sf(abs(z))
    assert sign_flip_test(values) == pytest.approx(expected, abs=0.01)


def test_few_pairs_have_the_interval_of_student():
    first = {0: 3.0, 1: 5.0, 2: 9.0, 7: 100.0}
    second = {0: 1.0, 1: 4.0, 2: 6.0, 9: -100.0}
    found = paired_difference(first, second)
    expected = stats.ttest_rel([3, 5, 9], [1, 4, 6]).confidence_interval(0.95)
    assert (found.n, found.mean, found.interval) == (3, 2.0, 't')
    assert found.std == 1.0
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.p == found.smallest_p == 0.25


def test_more_pairs_are_bootstrapped():
    generator = np.random.default_rng(1)
    base = generator.normal(0, 5, 12)
    first = dict(enumerate(base + generator.exponential(1, 12)))
    found = paired_difference(first, dict(enumerate(base)))
    assert found.interval == 'bootstrap'
    assert found.low < found.mean < found.high
    # an exponential is skewed to the right, and the interval with it
    assert found.high - found.mean > found.mean - found.low
    assert paired_difference(first, dict(enumerate(base))) == found


def test_differences_without_spread_have_an_interval_of_no_width():
    same = {seed: float(seed) for seed in range(9)}
    above = {seed: value + 1 for seed, value in same.items()}
    found = paired_difference(above, same)
    assert (found.low, found.high) == (1.0, 1.0)


def test_a_single_pair_claims_nothing():
    found = paired_difference({4: 2.0}, {4: 1.0})
    assert found.mean == found.p == 1.0
    assert math.isnan(found.low) and math.isnan(found.seen_from)


@given(small, small)
def test_improvement_is_that_of_mann_and_whitney(a, b):
    u = stats.mannwhitneyu(a, b, method='asymptotic').statistic
    expected = u / len(a) / len(b)
    assert probability_of_improvement(a, b) == pytest.approx(expected)


def test_the_difference_that_is_seen_is_seen_four_times_in_five():
    n, std = 6, 2.0
    effect = detectable_difference(std, n)
    generator = np.random.default_rng(0)
    runs = generator.normal(effect, std, size=(20_000, n))
    seen = stats.ttest_1samp(runs, 0.0, axis=1).pvalue < 0.05
    assert seen.mean() == pytest.approx(0.8, abs=0.03)


def test_holm_by_hand():
    adjusted = holm(dict(a=0.04, b=0.01, c=0.03))
    assert list(adjusted) == ['a', 'b', 'c']
    assert adjusted == pytest.approx(dict(b=0.03, c=0.06, a=0.06))
    assert holm(dict(a=0.9, b=0.8)) == dict(a=1.0, b=1.0)


def test_a_summary_of_one_seed_has_no_spread():
    assert Summary.of([2.0, 4.0]) == Summary(3.0, math.sqrt(2), 2)
    assert math.isnan(Summary.of([2.0]).std)


@pytest.mark.parametrize('values', [[], [1.0, math.nan], [math.inf]])
def test_what_cannot_be_compared_is_refused(values):
    with pytest.raises(ValueError, match='result'):
        Summary.of(values)


def test_methods_without_a_common_seed_are_refused():
    with pytest.raises(ValueError, match=r'no seed .* \[1\] and \[2\]'):
        paired_difference({1: 0.5}, {2: 0.5})
