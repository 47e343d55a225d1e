"""SET and RigL: what is dropped, what grows, and how many."""

import math

import pytest
import torch

from epsd_mm.policies import SET, MaskPolicy, Moment, RigL
from epsd_mm.pruning import NM, Masks, Rows, Target, Weights


def step_of(policy, masks, weights, gradients, moment):
    return policy.next(
        masks, weights, gradients, moment, Target.over(masks, 0.5)
    )


# At half of the way f = α/2 = .35, and ⌊.35 · 3⌋ = 1 of three weights goes.
#         θ     kept  gradient  held  grows  kept after
TABLE = [
    (+0.5, True, +0.1, True, False, True),
    (-0.1, True, +0.3, False, False, False),  # the smallest: goes
    (0.0, False, +0.4, False, False, False),
    (+0.3, True, -0.2, True, False, True),
    (0.0, False, -0.8, False, True, True),  # the steepest: comes
]


def layer(table):
    columns = list(zip(*table))
    weight, gradient = torch.tensor(columns[0]), torch.tensor(columns[2])
    return dict(w=weight), Masks(dict(w=torch.tensor(columns[1]))), gradient


def test_a_step_of_rigl_by_hand():
    weights, masks, gradient = layer(TABLE)
    policy = RigL(every=10, fraction=0.7, end=0.5)
    after = step_of(policy, masks, weights, dict(w=gradient), Moment(25, 100))
    assert after['w'].tolist() == [row[-1] for row in TABLE]


def test_what_just_went_may_be_the_steepest():
    """Algorithm 1 grows among all that are not held."""
    weights, masks, gradient = layer(TABLE)
    gradient[1] = 0.9
    policy = RigL(every=10, fraction=0.7, end=0.5)
    after = step_of(policy, masks, weights, dict(w=gradient), Moment(25, 100))
    assert after == masks


FRACTIONS = {0: 0.3, 15: 0.256066017177982, 30: 0.15, 45: 0.043933982822018}


def test_the_share_that_goes_falls_by_a_cosine():
    for step, share in FRACTIONS.items():
        moment = Moment(step, 100)
        got = RigL(fraction=0.3, end=0.6).dropped(moment)
        assert got == pytest.approx(share, abs=1e-12)


def test_updates_end_before_the_end():
    policy = SET(every=10, end=0.75)
    due = [s for s in range(101) if policy.due(Moment(s, 100))]
    assert due == [10, 20, 30, 40, 50, 60, 70]
    policy = SET(every=25, end=0.75)
    due = [s for s in range(101) if policy.due(Moment(s, 100))]
    assert due == [25, 50]  # at T_end nothing would move


def many(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(shape):
        return torch.randn(shape, generator=generator, dtype=torch.double)

    shapes = {'a': (6, 5, 3, 3), 'b': (12, 9), 'c': (4, 12)}
    masks = Masks({n: normal(shape) < -0.5 for n, shape in shapes.items()})
    weights = {n: normal(m.shape) * m for n, m in masks.items()}
    return masks, weights, {n: normal(m.shape) for n, m in masks.items()}


def rigl_by_sorting(mask, weight, gradient, share):
    """Algorithm 1 on a list of single weights."""
    kept = [i for i, keep in enumerate(mask) if keep]
    count = int(share * len(kept))
    kept.sort(key=lambda i: -abs(weight[i]))
    held = set(kept[: len(kept) - count])
    others = [i for i in range(len(mask)) if i not in held]
    others.sort(key=lambda i: -abs(gradient[i]))
    held |= set(others[:count])
    return [i in held for i in range(len(mask))]


@pytest.mark.parametrize('step', [100, 300, 700])
def test_rigl_is_algorithm_1_in_each_layer(step):
    masks, weights, gradients = many()
    policy = RigL(fraction=0.4, end=0.8)
    after = step_of(policy, masks, weights, gradients, Moment(step, 1000))
    share = 0.4 / 2 * (1 + math.cos(math.pi * step / 800))
    for name, mask in masks.items():
        want = rigl_by_sorting(
            *(x[name].flatten().tolist() for x in (masks, weights, gradients)),
            share,
        )
        assert after[name].flatten().tolist() == want
        assert int(after[name].sum()) == int(mask.sum())


def test_set_drops_as_rigl_does_and_grows_by_chance():
    masks, weights, gradients = many()
    moment = Moment(100, 1000, seed=3)
    after = step_of(SET(fraction=0.4), masks, weights, {}, moment)
    for name, mask in masks.items():
        kept = int(mask.sum())
        assert int(after[name].sum()) == kept
        went = mask & ~after[name]
        stayed = mask & after[name]
        # Some of the smallest may have come back by chance, none else goes.
        count = int(SET(fraction=0.4).dropped(moment) * kept)
        smallest = weights[name][mask].abs().sort().values[:count]
        assert set(weights[name][went].abs().tolist()) <= set(
            smallest.tolist()
        )
        assert int(stayed.sum()) >= kept - count


def test_what_set_draws_is_settled_by_seed_and_step():
    masks, weights, _ = many()
    first = Moment(100, 1000, seed=3)
    again = step_of(SET(), masks, weights, {}, first)
    assert again == step_of(SET(), masks, weights, {}, first)
    for other in (Moment(200, 1000, seed=3), Moment(100, 1000, seed=4)):
        assert again != step_of(SET(), masks, weights, {}, other)


def test_everything_outside_is_drawn_as_often():
    weights = dict(w=torch.tensor([1.0, 2, 3, 4, 0, 0, 0, 0]))
    masks = Masks(dict(w=weights['w'] > 0))
    policy = SET(fraction=0.5, end=1.0)
    came = torch.zeros(8)
    for seed in range(400):
        moment = Moment(1, 10**9, seed)
        came += step_of(policy, masks, weights, {}, moment)['w']
    assert (came[2:4] == 400).all()  # the larger half is held
    others = torch.cat([came[:2], came[4:]])
    assert (others - 2 * 400 / 6).abs().max() < 40


def test_a_layer_without_a_gradient_stays_as_it_is():
    masks, weights, gradients = many()
    del gradients['a']
    gradients['b'].zero_()
    moment = Moment(100, 1000)
    after = step_of(RigL(), masks, weights, gradients, moment)
    changed = {name for name in masks if not masks[name].equal(after[name])}
    assert changed == {'c'}


def test_rigl_without_any_gradient_says_what_is_missing():
    masks, weights, _ = many()
    with pytest.raises(ValueError, match='dense gradient, and there is none'):
        step_of(RigL(), masks, weights, {}, Moment(100, 1000))


@pytest.mark.parametrize('structure', [Rows(), NM(2, 4)])
def test_what_is_kept_together_is_not_grown_apart(structure):
    name = type(structure).__name__
    with pytest.raises(ValueError, match=f'single weights, which {name}'):
        RigL().check(structure)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(fraction=0), 'fraction=0 must be'),
        (dict(fraction=1.5), 'fraction=1.5'),
        (dict(fraction=True), 'fraction=True'),
        (dict(fraction='0.3'), r"fraction='0.3' must be a number in \(0, 1\]"),
        (dict(end=0), "end=0 is before the first.*policy='Fixed'"),
        (dict(end=2), 'end=2 must be a share of training'),
        (dict(every=True), 'every=True'),
    ],
)
def test_a_schedule_that_is_none_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SET(**options)


def test_a_training_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match='100 steps: give every=74 or less'):
        RigL(every=75).check_total(100)
    with pytest.raises(ValueError, match='1 steps: train for longer'):
        RigL(every=1).check_total(1)
    RigL(every=74).check_total(100)


@pytest.mark.parametrize('end, steps', [(0.07, 7), (0.55, 55), (0.56, 56)])
def test_nothing_is_due_at_an_end_that_rounding_puts_off(end, steps):
    assert end * 100 > steps  # 7.000000000000001
    policy = SET(every=1, end=end)
    due = [s for s in range(101) if policy.due(Moment(s, 100))]
    assert due == list(range(1, steps))
    with pytest.raises(ValueError, match=f'give every={steps - 1} or less'):
        SET(every=steps, end=end).check_total(100)


class Growing(MaskPolicy):
    """Of one's own; it lets weights come back, and says so."""

    regrows = True

    def due(self, moment):
        return True

    def next(self, masks, weights, gradients, moment, target):
        return masks


def test_a_policy_of_ones_own_grows_nothing_apart_either():
    with pytest.raises(ValueError, match='Growing grows .* which Rows keeps'):
        Growing().check(Rows())
    Growing().check(None)
    Growing().check(Weights())
