"""What a report may say, and when it must not."""

import math

import pytest
from scipy import stats

import epsd_mm
from epsd_mm.benchmark.comparison import Arm, Comparison, MixtureError
from epsd_mm.benchmark.store import Entry
from epsd_mm.benchmark.suite import Suite
from tests.helpers.suites import with_environments

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')
METRIC = 'metric/accuracy/top1'
CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = {{
    'dense': dict(variant='dense'),
    'SD': dict(variant='sd-only'),
    'plain': dict(variant='simple-combination'),
    'epsd': dict(),
}}
sparsities = [0.9]
seeds = list(range(10))
claims = [dict(name='C1', setup='a', first='epsd', second='plain',
               sparsity=0.9)]
"""


@pytest.fixture(scope='module')
def suite(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp('suite') / 'suite.py')


def loaded(path, content=CONTENT):
    path.write_text(content)
    return Suite.load(path)


def compared(suite, value, seeds=range(10), version=lambda cell: 1, failed=()):
    entries = {
        cell.key: Entry(
            *(cell.key, cell.name, cell.spec()),
            *('failed' if cell.name in failed else 'finished', None, 1, 0, 1),
            *(None, dict(recipe_version=version(cell))),
            {METRIC: (value(cell), '%')},
        )
        for cell in suite.cells
        if cell.seed in seeds
    }
    return Comparison(suite, entries)


def by_method(epsd, noise=0.0):
    """Values whose seeds differ much more than their methods."""

    def value(cell):
        spread = noise * (-1) ** cell.seed
        own = epsd + spread if cell.method.name == 'epsd' else 0.0
        return 50.0 + 3 * cell.seed + own

    return value


def verdict(suite, *args, **kwargs):
    (found,) = compared(suite, *args, **kwargs).verdicts()
    return found


def test_a_difference_in_every_pair_supports_the_claim(suite):
    found = verdict(suite, by_method(1.0, 0.5))
    assert found.verdict == 'supported'
    assert found.p == 2**-9 and found.difference.n == 10


def test_the_opposite_is_said(suite):
    found = verdict(suite, by_method(-1.0, 0.5))
    assert found.verdict == 'not supported'
    assert 'other way round' in found.why


def test_noise_decides_nothing_and_says_what_would_have_been_seen(suite):
    found = verdict(suite, by_method(0.1, 2.0))
    assert found.verdict == 'undecided'
    # one claim, so that it is tested at the level of the column
    assert f'{found.difference.seen_from:.2g}' in found.why


def test_pairs_that_are_all_alike_are_told_without_a_spread(suite):
    found = verdict(suite, lambda cell: 50.0)
    assert (found.verdict, found.why) == ('undecided', 'p = 1')


@pytest.mark.parametrize(
    'planned, verdict_, said',
    [
        (2, 'no claim', '2 of the 3 pairs of seeds'),
        (3, 'undecided', 'n too small: 3 pairs reach p = 0.25'),
        (5, 'undecided', 'n too small: 5 pairs reach p = 0.0625'),
        (6, 'supported', 'p = 0.0312'),
    ],
)
def test_few_pairs_claim_nothing(planned, verdict_, said, tmp_path):
    content = CONTENT.replace('range(10)', f'range({planned})')
    suite = loaded(tmp_path / 'suite.py', content)
    found = verdict(suite, by_method(1.0))
    assert found.verdict == verdict_ and said in found.why


def test_claims_are_tested_once_when_all_planned_pairs_are_there(suite):
    """A test at each look finds something sooner or later."""
    found = verdict(suite, by_method(1.0), range(9))
    assert found.verdict == 'undecided'
    assert '9 of 10 pairs so far' in found.why


@pytest.mark.parametrize('diverged', [math.nan, math.inf, -math.inf])
def test_runs_without_a_number_are_named_and_not_left_out(diverged, suite):
    """Leaving out what diverged would choose the seeds."""

    def value(cell):
        mine = cell.method.name == 'epsd' and cell.seed == 3
        return diverged if mine else by_method(1.0)(cell)

    found = verdict(suite, value)
    assert found.verdict == 'undecided'
    assert 'Without a result: a/epsd/0.9/seed 3' in found.why
    assert found.difference.n == 9


def test_failed_cells_of_a_claim_are_named(suite):
    found = verdict(
        suite, by_method(1.0), failed=['a/plain/0.9/seed 2', 'a/dense/seed 1']
    )
    assert found.verdict == 'undecided'
    assert found.why.endswith('Without a result: a/plain/0.9/seed 2')


def one_sign(n):
    """Mean of normal differences, all above zero four times in five.

    In spreads: so few pairs reach the level where all have one sign alone.
    """
    return stats.norm.ppf(0.8 ** (1 / n))


def spread_over(std, mean=0.0):
    """Pairs that differ by (−std, 0, std), again and again, and a mean."""

    def value(cell):
        own = mean + std * (cell.seed % 3 - 1)
        return 50.0 + 3 * cell.seed + own * (cell.method.name == 'epsd')

    return value


@pytest.mark.parametrize('claims, pairs', [(1, 6), (2, 7)])
def test_too_few_pairs_tell_how_many_would_show_what(claims, pairs, tmp_path):
    content = (CONTENT, TWO_CLAIMS)[claims - 1]
    content = content.replace('range(10)', 'range(3)')
    suite = loaded(tmp_path / 'suite.py', content)
    found = compared(suite, spread_over(2 / one_sign(pairs))).verdicts()[0]
    assert found.verdict == 'undecided'
    assert found.why.endswith(
        f'is needed; {pairs} pairs of this spread would show a difference of '
        '2 four times in five'
    )


def test_what_waits_for_seeds_tells_what_all_of_them_would_show(tmp_path):
    content = CONTENT.replace('range(10)', 'range(6)')
    suite = loaded(tmp_path / 'suite.py', content)
    found = verdict(suite, spread_over(2 / one_sign(6)), range(3))
    assert found.why == (
        '3 of 6 pairs so far; it is tested once, when all are there; 6 pairs '
        'of this spread would show a difference of 2 four times in five'
    )


TWO_CLAIMS = CONTENT + (
    "methods['random'] = dict(variant='prune-only', criterion='Random')\n"
    "claims += [dict(claims[0], name='C8', second='random')]\n"
)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp('two') / 'suite.py', TWO_CLAIMS)


def test_a_claim_without_runs_counts_among_those_tested(two):
    """Else the first that is finished would be tested as if alone."""
    entries = compared(two, by_method(1.0)).entries
    there = {
        cell.key: entries[cell.key]
        for cell in two.cells
        if cell.method.name != 'random'
    }
    first, second = Comparison(two, there).verdicts()
    assert first.p == 2 * 2**-9
    assert second.verdict == 'no claim' and second.p is None


def gains(first, second):
    """EPSD beats two others by so much, seed by seed."""

    def value(cell):
        by = dict(plain=first, random=second).get(cell.method.name)
        return 50.0 + 3 * cell.seed - (by[cell.seed] if by else 0.0)

    return value


# With p = .029 and .021, of which the double is above .05 and below.
MIDDLING = [-6, 1, 2, 3, 4, 5, 6, 7, 8, 9]
CLEAR = [-5, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def without(comparison, method, seed):
    gone = f'a/{method}/0.9/seed {seed}'
    entries = comparison.entries.items()
    left = {key: entry for key, entry in entries if entry.name != gone}
    return Comparison(comparison.suite, left)


@pytest.mark.parametrize('last', [-1000.0, 0.0, 1000.0])
@pytest.mark.parametrize('first', [MIDDLING, CLEAR, [1] * 10, [-1] * 10])
def test_seeds_of_a_claim_take_back_no_verdict_of_another(first, last, two):
    """Whatever its last seed brings."""
    whole = compared(two, gains(first, [1.0] * 9 + [last]))
    before, waits = without(whole, 'random', 9).verdicts()
    after, _ = whole.verdicts()
    assert waits.p is None and 'so far' in waits.why
    assert after.p <= before.p
    if before.verdict in ('supported', 'not supported'):
        assert after.verdict == before.verdict


def test_an_undecided_claim_says_that_others_may_yet_decide_it(two):
    """Holm: a p is doubled only where it is the smaller one."""
    whole = compared(two, gains(MIDDLING, [1.0] * 10))
    p = whole.verdicts()[0].p
    assert 0.025 < p <= 0.05
    before = without(whole, 'random', 9).verdicts()[0]
    assert before.verdict == 'undecided' and before.p == 2 * p
    assert before.why.endswith(f'{p:.3g} at best when they are there')
    assert ' would have been seen four times in five) while' in before.why


def test_no_runs_are_no_pairs(suite):
    found = verdict(suite, by_method(1.0), [])
    assert found.verdict == 'no claim' and found.difference is None


def test_only_common_seeds_are_compared(suite):
    comparison = compared(suite, by_method(1.0), range(4))
    epsd, plain = Arm('a', 'epsd', 0.9), Arm('a', 'plain', 0.9)
    assert comparison.difference(epsd, plain, METRIC).mean == 1.0
    assert comparison.available(epsd, METRIC) == {
        seed: 51.0 + 3 * seed for seed in range(4)
    }


def test_what_distillation_does_for_the_dense_network_is_known(suite):
    def value(cell):
        return 50.0 + cell.seed + (cell.method.name == 'SD')

    ((arm, difference),) = compared(suite, value).dense_benefit('a')
    assert str(arm) == 'SD' and difference.mean == 1.0


@pytest.mark.parametrize('name', ['device', 'torch', 'commit'])
def test_a_verdict_says_in_what_else_its_pairs_differ(name, suite):
    """Also where all seeds agree on who ran where."""
    comparison = compared(suite, by_method(1.0))

    def ran(cell):
        other = cell.method.name == 'epsd' and cell.seed > 2
        return {name: 'new' if other else 'old', 'recipe_version': 1}

    (found,) = with_environments(comparison, ran).verdicts()
    assert found.verdict == 'supported'
    assert found.why == (
        'p = 0.00195. Mind that the two of a pair differ in '
        f'{name}: new against old (7)'
    )


def test_pairs_that_ran_alike_may_differ_from_others(suite):
    comparison = compared(suite, by_method(1.0))
    alike = with_environments(comparison, lambda cell: {'torch': cell.seed})
    assert alike.verdicts()[0].why == 'p = 0.00195'


def test_other_methods_say_nothing_of_a_claim(suite):
    comparison = compared(suite, by_method(1.0))
    dense = with_environments(
        comparison, lambda cell: {'device': cell.method.name == 'dense'}
    )
    assert dense.verdicts()[0].why == 'p = 0.00195'


def test_one_changed_commit_is_not_one_code(suite):
    """It has one name on both sides, and nobody knows what it was."""
    comparison = compared(suite, by_method(1.0))
    dirty = with_environments(comparison, lambda cell: {'commit': 'a-dirty'})
    why = dirty.verdicts()[0].why
    assert why.endswith('changed since its commit: a-dirty (20 cells)')


def test_cells_of_different_recipes_are_not_compared(suite):
    with pytest.raises(MixtureError, match='recipe 1: .* recipe 2: '):
        compared(
            suite, by_method(0.0), version=lambda cell: 1 + (cell.seed > 5)
        )
