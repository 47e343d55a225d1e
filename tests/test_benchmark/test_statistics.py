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


@pytest.mark.parametrize('n', [9, 13])
def test_the_exact_p_is_that_of_a_permutation_test(n):
    values = np.random.default_rng(n).normal(0.4, 1, n)
    expected = stats.permutation_test(
        (values, np.zeros(n)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type='samples',
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_test(values) == pytest.approx(expected.pvalue)


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


@pytest.mark.parametrize('n', [8, 10])
def test_intervals_from_the_bootstrap_hold_what_they_say(n):
    """The mean lies in about 95 of 100; plain ones do at 88 to 93."""
    generator = np.random.default_rng(n)
    trials = 250
    held = 0
    for _ in range(trials):
        found = paired_difference(
            dict(enumerate(generator.normal(3.0, 2.0, n))),
            dict.fromkeys(range(n), 1.0),
        )
        held += found.low <= 2.0 <= found.high
    assert found.interval == 'bootstrap'
    # two standard errors of a share of .95 are .028
    assert held / trials == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize('n', [2, 3, 9])
@pytest.mark.parametrize('by', [0.0, 1.0, -0.1])
def test_differences_without_spread_have_an_interval_of_no_width(by, n):
    """Also where they differ by what is lost in a subtraction."""
    base = {seed: 60.1 + 3.7 * seed for seed in range(n)}
    found = paired_difference({s: v + by for s, v in base.items()}, base)
    assert (found.low, found.high) == pytest.approx((by, by), abs=1e-12)
    assert found.p == (found.smallest_p if by else 1.0)
    assert found.std == 0 and math.isnan(found.seen_from)
    assert found.improvement == pytest.approx(
        0.5 + np.sign(by) * 0.5 / n * (1 if abs(by) < 3.7 else n)
    )


def test_pairs_without_a_difference_tell_nothing():
    """Ties: n pairs of which k differ reach what k pairs reach."""
    found = paired_difference(
        dict(enumerate([1.0, 2.0, 5.0, 5.0])),
        dict(enumerate([0.0, 0.0, 5.0, 5.0])),
    )
    assert found.p == smallest_p(2) == 0.5
    assert found.smallest_p == 0.125


def test_intervals_at_eight_pairs_survive_all_but_one_tie():
    first = dict.fromkeys(range(8), 1.0) | {7: 2.0}
    found = paired_difference(first, dict.fromkeys(range(8), 1.0))
    assert found.mean == 0.125 and found.p == 1.0
    assert found.low <= 0.125 <= found.high


def test_a_single_pair_claims_nothing():
    found = paired_difference({4: 2.0}, {4: 1.0})
    assert found.mean == found.p == 1.0
    assert math.isnan(found.low) and math.isnan(found.seen_from)


@given(small, small)
def test_improvement_is_that_of_mann_and_whitney(a, b):
    u = stats.mannwhitneyu(a, b, method='asymptotic').statistic
    expected = u / len(a) / len(b)
    assert probability_of_improvement(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(
    'n, level', [(6, 0.05), (7, 0.025), (8, 0.05 / 3), (10, 0.05)]
)
def test_the_difference_that_is_seen_is_seen_four_times_in_five(n, level):
    """By the test that is used: a t-test sees .6 to .8 of it."""
    std, trials = 2.0, 2_000
    effect = detectable_difference(std, n, level)
    runs = np.random.default_rng(1).normal(effect, std, size=(trials, n))
    signs = np.array(list(product((1, -1), repeat=n)))
    farther = abs(runs @ signs.T) >= abs(runs.sum(1, keepdims=True)) - 1e-9
    seen = farther.mean(1) <= level
    # three standard errors of a share of .8
    assert seen.mean() == pytest.approx(0.8, abs=0.027)


@pytest.mark.parametrize('n, level', [(6, 0.05), (7, 0.025)])
def test_fewest_pairs_see_what_has_one_sign_in_all_of_them(n, level):
    expected = stats.norm.ppf(0.8 ** (1 / n))
    found = detectable_difference(3.0, n, level)
    assert found == pytest.approx(3.0 * expected, rel=0.02)


def test_many_pairs_see_what_a_t_test_sees():
    n, effect = 40, detectable_difference(1.0, 40)
    runs = np.random.default_rng(0).normal(effect, 1.0, size=(20_000, n))
    seen = stats.ttest_1samp(runs, 0.0, axis=1).pvalue < 0.05
    assert seen.mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize('n, level', [(5, 0.05), (2, 0.05), (6, 0.025)])
def test_pairs_that_cannot_reach_the_level_see_no_difference(n, level):
    assert detectable_difference(2.0, n, level) == math.inf


def test_holm_by_hand():
    adjusted = holm(dict(a=0.04, b=0.01, c=0.03))
    assert list(adjusted) == ['a', 'b', 'c']
    assert adjusted == pytest.approx(dict(b=0.03, c=0.06, a=0.06))
    assert holm(dict(a=0.9, b=0.8)) == dict(a=1.0, b=1.0)


def test_a_summary_of_one_seed_has_no_spread():
    assert Summary.of([2.0, 4.0]) == Summary(3.0, math.sqrt(2), 2)
    assert math.isnan(Summary.of([2.0]).std)
    assert all(map(math.isnan, Summary.of([2.0]).interval()))


@pytest.mark.parametrize('n', [2, 5, 12])
def test_the_interval_of_a_mean_is_that_of_student(n):
    values = np.random.default_rng(n).normal(50, 3, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert Summary.of(values).interval(0.9) == pytest.approx(tuple(expected))


@pytest.mark.parametrize('values', [[], [1.0, math.nan], [math.inf]])
def test_what_cannot_be_compared_is_refused(values):
    with pytest.raises(ValueError, match='result'):
        Summary.of(values)


def test_methods_without_a_common_seed_are_refused():
    with pytest.raises(ValueError, match=r'no seed .* \[1\] and \[2\]'):
        paired_difference({1: 0.5}, {2: 0.5})
