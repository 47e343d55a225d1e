"""What a report may say, and when it must not."""

import math

import pytest

import epsd_mm
from epsd_mm.benchmark.comparison import Arm, Comparison, MixtureError
from epsd_mm.benchmark.store import Entry
from epsd_mm.benchmark.suite import Suite

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


def test_a_claim_without_runs_counts_among_those_tested(tmp_path):
    """Else the first that is finished would be tested as if alone."""
    content = CONTENT + (
        "methods['random'] = dict(variant='prune-only', criterion='Random')\n"
        "claims += [dict(claims[0], name='C8', second='random')]\n"
    )
    suite = loaded(tmp_path / 'suite.py', content)
    entries = compared(suite, by_method(1.0)).entries
    there = {
        cell.key: entries[cell.key]
        for cell in suite.cells
        if cell.method.name != 'random'
    }
    first, second = Comparison(suite, there).verdicts()
    assert first.p == 2 * 2**-9
    assert second.verdict == 'no claim' and second.p is None


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


def test_cells_of_different_recipes_are_not_compared(suite):
    with pytest.raises(MixtureError, match='recipe 1: .* recipe 2: '):
        compared(
            suite, by_method(0.0), version=lambda cell: 1 + (cell.seed > 5)
        )
