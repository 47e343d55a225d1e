"""Gradual magnitude pruning: the cubic schedule, and what goes."""

import re

import pytest
import torch

from epsd_mm.policies import Gradual, Moment
from epsd_mm.pruning import NM, ByGlob, Masks, Rows, Target, Uniform


def weights_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {'a': (8, 4, 3, 3), 'b': (10, 8), 'c': (4, 10)}
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


def run(policy, weights, target, total):
    """Masks after each step that changes them."""
    masks, found = Masks.ones_like(weights), {}
    for step in range(1, total + 1):
        moment = Moment(step, total)
        if policy.due(moment):
            masks = policy.next(masks, weights, {}, moment, target)
            found[step] = masks
    return found


# t_0 = 20, n Δt = 60, s_f = .9: s_f (1 − (1 − (t − 20) / 60)³)
CUBIC = {20: 0.0, 40: 0.9 * 19 / 27, 60: 0.9 * 26 / 27, 80: 0.9}
FROM_HALF = {20: 0.5, 40: 0.9 - 0.4 * 8 / 27, 60: 0.9 - 0.4 / 27, 80: 0.9}


@pytest.mark.parametrize(
    'initial, table', [(0.0, CUBIC), (0.5, FROM_HALF)], ids=['dense', 'half']
)
def test_it_removes_what_the_formula_says(initial, table):
    policy = Gradual(every=20, begin=0.2, end=0.8, initial_sparsity=initial)
    weights = weights_of()
    total = sum(w.numel() for w in weights.values())
    found = run(policy, weights, Target.over(weights, 0.9), 100)
    assert found.keys() == table.keys()
    for step, sparsity in table.items():
        assert found[step].kept == round((1 - sparsity) * total)


def test_the_smallest_of_all_go():
    weights = weights_of()
    found = run(Gradual(every=10), weights, Target.over(weights, 0.8), 100)
    masks = found[70]
    kept = torch.cat([w[masks[n]].abs() for n, w in weights.items()])
    gone = torch.cat([w[~masks[n]].abs() for n, w in weights.items()])
    assert kept.min() > gone.max()


def test_nothing_comes_back_although_it_has_grown():
    target = Target.over(weights_of(), 0.8)
    policy, masks = Gradual(every=10), Masks.ones_like(weights_of())
    for step in range(10, 80, 10):
        weights = weights_of(seed=step)  # other weights are large now
        after = policy.next(masks, weights, {}, Moment(step, 100), target)
        assert after & masks == after
        masks = after
    assert masks.kept == round(0.2 * masks.total)


def test_every_target_is_met_in_the_end_and_by_and_by():
    weights = {n: w for n, w in weights_of().items() if n != 'c'}
    targets = {
        0.75: Target.over(weights, 0.75, Uniform()),
        0.5: Target.over(weights, 0.5, structure=NM(2, 4)),
        0.6: Target.over(weights, 0.6, ByGlob({'a': 0.7})),
        0.7: Target.over(weights, 0.7, structure=Rows()),
    }
    for sparsity, target in targets.items():
        found = list(run(Gradual(every=10), weights, target, 100).values())
        kept = [masks.kept for masks in found]
        assert kept == sorted(kept, reverse=True) and len(set(kept)) > 2
        # A row of the largest layer is a tenth of all weights.
        assert found[-1].sparsity == pytest.approx(sparsity, abs=0.1)
        assert target.select(weights, found[-1]).kept == found[-1].kept
    layers = run(Gradual(every=10), weights, targets[0.75], 100)[70].layers()
    assert {round(each['density'], 2) for each in layers.values()} == {0.25}


def test_globs_that_agree_with_two_of_four_do_so_on_the_way():
    weights = dict(a=weights_of()['a'])  # 288 of them
    target = Target.over(weights, 0.5, ByGlob({'a': 0.5}), NM(2, 4))
    found = run(Gradual(every=10), weights, target, 80)  # 10, 20, …, 60
    # 1 − s_t = .79, .65, .56, .52, .50, .5: of four, up to a whole one
    kept = [masks.kept for masks in found.values()]
    assert kept == [288, 216, 216, 216, 216, 144]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(every=0), 'every=0 must be an integer'),
        (dict(every=2.5), 'every=2.5'),
        (dict(end=1.2), r'end=1.2 must be a share of training in \[0, 1\]'),
        (dict(begin=-0.1), 'begin=-0.1'),
        (dict(begin=0.8, end=0.5), 'begin=0.8 must be before end=0.5'),
        (dict(initial_sparsity=1.0), '^initial_sparsity=1.0 must be'),
    ],
)
def test_a_schedule_that_is_none_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Gradual(**options)


def test_a_training_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match='100 steps: give every=75 or less'):
        Gradual(every=76).check_total(100)
    Gradual(every=75).check_total(100)


@pytest.mark.parametrize('begin, end', [(0.5, 0.75), (0.29, 0.58), (0.03, 1)])
def test_what_a_short_training_is_told_to_do_is_the_most_that_helps(
    begin, end
):
    with pytest.raises(ValueError, match='give every=') as told:
        Gradual(every=98, begin=begin, end=end).check_total(100)
    most = int(re.search(r'give every=(\d+)', str(told.value))[1])
    Gradual(every=most, begin=begin, end=end).check_total(100)
    with pytest.raises(ValueError):
        Gradual(every=most + 1, begin=begin, end=end).check_total(100)
    with pytest.raises(ValueError, match='train for longer, or let end'):
        Gradual(every=1, begin=begin, end=end).check_total(1)


def test_a_sparsity_below_that_of_the_start_is_refused():
    with pytest.raises(ValueError, match='must be below sparsity=0.5'):
        Gradual(initial_sparsity=0.5).initial(0.5)
