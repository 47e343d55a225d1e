"""What would run is counted from what has run, and never guessed."""

from dataclasses import replace

import pytest

import epsd_mm
from epsd_mm.benchmark.plan import Costs, plan
from epsd_mm.benchmark.store import Entry
from epsd_mm.benchmark.suite import Suite
from epsd_mm.runs import Run
from tests.helpers.suites import suite_of

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')
CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = {{'dense': dict(variant='dense'), 'epsd': dict()}}
sparsities = [0.9, 0.95]
seeds = [0, 1]
"""


@pytest.fixture(scope='module')
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp('suite') / 'suite.py'
    path.write_text(CONTENT)
    return Suite.load(path)


def cell_of(suite, name):
    (found,) = (cell for cell in suite.cells if cell.name == name)
    return found


def entry(cell, seconds, state='finished', **more):
    metrics = {'training/seconds': (seconds, 's'), **more}
    if seconds is None:
        del metrics['training/seconds']
    return Entry(
        *(cell.key, cell.name, cell.spec(), state, None, 1, 0, 1, None),
        *(dict(device='H100', threads=4), metrics),
    )


def test_costs_are_means_of_like_cells(suite):
    dense = [cell_of(suite, f'a/dense/seed {seed}') for seed in (0, 1)]
    gib = {'training/peak_memory': (2.0**30, 'B')}
    on_gpu = {'training/gpu_memory': (512.0, 'MiB')}
    costs = Costs(
        [entry(dense[0], 100, **gib), entry(dense[1], 140, **on_gpu)]
    )
    cost = costs.of(dense[0])
    assert (cost.seconds, cost.cells) == (120, 2)
    assert (cost.memory, cost.gpu_memory) == (2**30, 2**29)
    assert cost.where == 'H100'


def test_another_sparsity_counts_but_its_own_comes_first(suite):
    at_90 = cell_of(suite, 'a/epsd/0.9/seed 0')
    at_95 = cell_of(suite, 'a/epsd/0.95/seed 0')
    assert Costs([entry(at_90, 100)]).of(at_95).seconds == 100
    both = Costs([entry(at_90, 100), entry(at_95, 80)])
    assert both.of(at_95).seconds == 80


def test_masks_of_another_run_cost_alike_at_any_seed_and_sparsity(tmp_path):
    path = tmp_path / 'suite.py'
    path.write_text(f"{CONTENT}\nmethods['lent'] = dict(masks_of='epsd')")
    suite = Suite.load(path)
    first, *others = (c for c in suite.cells if c.method.name == 'lent')
    costs = Costs([entry(first, 100)])
    assert [costs.of(cell).seconds for cell in others] == [100] * 3
    assert costs.of(cell_of(suite, 'a/epsd/0.9/seed 0')) is None


def test_other_methods_and_cells_without_a_cost_tell_nothing(suite):
    dense = cell_of(suite, 'a/dense/seed 0')
    epsd = cell_of(suite, 'a/epsd/0.9/seed 0')
    assert Costs([entry(dense, 100)]).of(epsd) is None
    # It was resumed, so that nobody knows; it failed.
    assert Costs([entry(epsd, None)]).of(epsd) is None
    assert Costs([entry(epsd, 9, 'failed')]).of(epsd) is None


def renamed(cell, **spec):
    found = entry(cell, 100)
    return replace(found, name='other', spec={**found.spec, **spec})


def test_names_neither_hide_a_cost_nor_lend_one(suite):
    dense = cell_of(suite, 'a/dense/seed 0')
    epsd = cell_of(suite, 'a/epsd/0.9/seed 0')
    known = Costs([renamed(epsd, setup='b', method='other')])
    assert known.of(epsd).seconds == 100
    lent = Costs([renamed(dense, method='epsd', sparsity=0.9)])
    assert lent.of(epsd) is None


@pytest.mark.parametrize(
    'more',
    [
        dict(run=dict(config='nowhere.py')),
        dict(run=dict(config=__file__)),
        dict(run=dict(colour='red')),
        dict(run=None),
    ],
)
def test_a_cell_whose_config_cannot_be_told_tells_nothing(suite, more):
    epsd = cell_of(suite, 'a/epsd/0.9/seed 0')
    assert Costs([renamed(epsd, **more)]).of(epsd) is None
    without = renamed(epsd)
    del without.spec['run']
    assert Costs([without]).of(epsd) is None


def test_a_config_that_was_edited_since_tells_nothing(suite, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = [{CONFIG!r}]')
    path = tmp_path / 'suite.py'
    path.write_text(CONTENT.replace(repr(CONFIG), repr(str(config))))
    before = cell_of(Suite.load(path), 'a/epsd/0.9/seed 0')
    measured = entry(before, 100)
    config.write_text(
        f'_base_ = [{CONFIG!r}]\nmodel = dict(backbone=dict(depth=34))'
    )
    after = cell_of(Suite.load(path), 'a/epsd/0.9/seed 0')
    assert Costs([measured]).of(after) is None


def test_where_channels_go_the_sparsity_decides_the_cost(tmp_path):
    path = tmp_path / 'suite.py'
    channels = {'default_hooks.epsd.structure': 'channels'}
    path.write_text(
        f'{CONTENT}\nmethods = dict(epsd=dict(options={channels!r}))'
    )
    suite = Suite.load(path)
    at_90 = cell_of(suite, 'a/epsd/0.9/seed 0')
    at_95 = cell_of(suite, 'a/epsd/0.95/seed 0')
    costs = Costs([entry(at_90, 100)])
    assert costs.of(at_90).seconds == 100 and costs.of(at_95) is None


def test_the_plan_adds_up_what_is_known_and_names_the_rest(suite):
    dense = cell_of(suite, 'a/dense/seed 0')
    costs = Costs([entry(dense, 3600)])
    text = plan(suite.cells, set(), costs)
    assert '6 cells to run: 2.00 hours' in text
    assert '; 4 not measured' in text
    rest = plan(suite.cells, {dense.key}, costs)
    assert '5 cells to run: 1.00 hours' in rest
    nothing = plan(suite.cells, set(), Costs([]))
    assert '6 cells to run; 6 not measured' in nothing
    assert 'hours' not in nothing.splitlines()[-1]


PLAIN = dict(variant='prune-only')
CHAINS = dict(
    dense=dict(variant='dense'),
    GMP=dict(PLAIN, policy='GMP'),
    IMP=dict(PLAIN, rounds=dict(share=0.5, rewind=50)),
    late=dict(PLAIN, rounds=dict(share=0.5, rewind=100)),
    KD=dict(variant='sd-only', sd_loss='KD', teacher='dense'),
    student=dict(student_of='GMP'),
    twin=dict(student_of='IMP'),
    small=dict(PLAIN, options={'default_hooks.epsd.structure': 'channels'}),
    EPSD=dict(),
    taught=dict(sd_loss='KD', masks_of='EPSD', teacher='GMP'),
    other=dict(sd_loss='KD', masks_of='EPSD', teacher='small'),
)


@pytest.fixture(scope='module')
def chains(tmp_path_factory):
    return suite_of(tmp_path_factory.mktemp('suite'), CHAINS, 2, (0.5, 0.9))


def costed(suite, name):
    """Cells that one has told the cost of."""
    costs = Costs([entry(cell_of(suite, f'a/{name}/seed 0'), 100)])
    cells = [c for c in suite.cells if c.seed == 0]
    return {c.name[2:-7] for c in cells if costs.of(c) is not None}


@pytest.mark.parametrize(
    'name, alike',
    [
        # As large as what a teacher keeps: of one method, at one sparsity.
        ('student/0.5', {'student/0.5'}),
        ('student/0.9', {'student/0.9'}),
        ('twin/0.5', {'twin/0.5'}),
        ('KD', {'KD'}),
        # A teacher that has zeros looks at an image for as long.
        ('taught/0.5', {'taught/0.5', 'taught/0.9'}),
        ('other/0.5', {'other/0.5'}),
        # Fewer steps are left after a later one.
        ('IMP/0.75', {'IMP/0.75', 'IMP/0.875', 'IMP/0.9'}),
    ],
)
def test_other_networks_and_shorter_trainings_tell_nothing(
    name, alike, chains
):
    assert costed(chains, name) == alike


def test_a_finished_cell_is_resolved_once(suite, monkeypatch):
    entries = [
        entry(cell_of(suite, f'a/dense/seed {seed}'), 100) for seed in (0, 1)
    ]
    resolved, resolve = [], Run.resolve
    monkeypatch.setattr(
        Run, 'resolve', lambda *a: resolved.append(a[0].seed) or resolve(*a)
    )
    Costs(entries)
    assert resolved == [0, 1]


def test_seeds_of_a_student_cost_alike(chains):
    costs = Costs([entry(cell_of(chains, 'a/student/0.9/seed 0'), 100)])
    assert costs.of(cell_of(chains, 'a/student/0.9/seed 1')).seconds == 100
