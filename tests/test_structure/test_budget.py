"""Which units a budget keeps, against plain counting."""

import math

import pytest
import torch

from epsd_mm.pruning import ERK, ByGlob, Global, Masks, Schedule, Uniform
from epsd_mm.structure import Budget, Channels, Group, Groups, Member
from tests.helpers.units import Branches, branches_groups


def budget_of(
    sparsity=0.5, width=24, body=20, prices=None, groups=None, **options
):
    model = Branches(width, body)
    sizes = {n: p.shape for n, p in model.named_parameters() if p.dim() > 1}
    return Budget(
        branches_groups(width, body) if groups is None else groups,
        sizes,
        prices or dict.fromkeys(sizes, 1),
        sparsity,
        **{'allocation': Global()} | options,
    )


def drawn_scores(budget, seed, ties=False):
    generator = torch.Generator().manual_seed(seed)
    rows = {
        name: torch.rand(group.units, generator=generator)
        for name, group in budget.groups.items()
    }
    return {n: (4 * r).floor() if ties else r for n, r in rows.items()}


def counted(budget, channels):
    """The price of what is left, entry by entry."""
    masks = channels.masks(
        budget.groups,
        {name: torch.empty(size) for name, size in budget.sizes.items()},
    )
    return sum(
        budget.prices[name] * (int(masks[name].sum()))
        if name in masks
        else budget.prices[name] * size.numel()
        for name, size in budget.sizes.items()
    )


def whole(budget):
    return counted(budget, Channels.all_of(budget.groups))


def by_hand(budget, scores):
    """The widest network within the budget, of all that the order gives."""
    limit = (1 - budget.sparsity) * whole(budget) + 1e-6
    units = sorted(
        (-float(score), name, number)
        for name, row in scores.items()
        for number, score in enumerate(row)
    )
    for left in range(len(units), -1, -1):
        kept = {}
        for name, row in scores.items():
            own = [u for _, n, u in units if n == name]
            count = sum(n == name for _, n, _ in units[:left])
            allowed = [
                width
                for width in range(1, len(row) + 1)
                if width == len(row) or width % budget.multiple_of == 0
            ]
            least = budget.allocation.min_density * len(row)
            allowed = [w for w in allowed if w >= least - 1e-9]
            width = min(allowed, key=lambda w: (abs(w - count), -w))
            mask = torch.zeros(len(row), dtype=torch.bool)
            mask[own[:width]] = True
            kept[name] = mask
        if counted(budget, Channels(kept)) <= limit:
            return Channels(kept)
    raise AssertionError('nothing fits')


@pytest.mark.parametrize('ties', [False, True], ids=['', 'ties'])
@pytest.mark.parametrize('multiple_of', [1, 4, 8])
@pytest.mark.parametrize('sparsity', [0.2, 0.5, 0.7])
def test_the_widest_network_within_the_budget(sparsity, multiple_of, ties):
    prices = {
        'one.weight': 3.0,
        'two.weight': 1.0,
        'body.weight': 0.5,
        'head.weight': 2.0,
    }
    for seed in range(3):
        budget = budget_of(
            sparsity,
            prices=prices,
            multiple_of=multiple_of,
            allocation=Global(min_density=0.1),
        )
        scores = drawn_scores(budget, seed, ties)
        assert budget.select(scores) == by_hand(budget, scores)


@pytest.mark.parametrize('allocation', [Global(), Uniform()])
def test_widths_are_multiples_or_whole_and_the_budget_is_kept(allocation):
    for seed in range(5):
        budget = budget_of(0.4, allocation=allocation)
        channels = budget.select(drawn_scores(budget, seed))
        assert counted(budget, channels) <= 0.6 * whole(budget)
        for row in channels.values():
            assert row.sum() % 8 == 0 or row.all()


def test_the_same_share_of_each_group_or_the_nearest_width():
    budget = budget_of(0.6, 24, 48, allocation=Uniform(), multiple_of=1)
    channels = budget.select(drawn_scores(budget, 0))
    shares = [float(row.double().mean()) for row in channels.values()]
    assert abs(shares[0] - shares[1]) < 1 / 24
    scores = drawn_scores(budget, 0)
    for name, row in channels.items():
        assert scores[name][row].min() > scores[name][~row].max()


def test_a_floor_holds_for_a_group_that_scores_nothing():
    floor = Global(min_density=0.5)
    budget = budget_of(0.4, allocation=floor)
    scores = drawn_scores(budget, 0)
    scores['one'] *= 0.001
    channels = budget.select(scores)
    assert int(channels['one'].sum()) == 16  # the multiple of 8 above 12
    bare = budget_of(0.65)
    with pytest.raises(ValueError, match='no channel of 1 of 2 groups: one'):
        bare.select(scores)


def test_a_budget_below_what_stays_is_told_the_most_there_is():
    with pytest.raises(
        ValueError, match='cannot be reached.* is the most'
    ) as e:
        budget_of(0.99).check()
    assert '1 its outputs are the task' in str(e.value)
    most = float(str(e.value).split('channels: ')[1].split(' ')[0])
    budget_of(math.floor(most * 1e4) / 1e4 - 1e-4).check()
    with pytest.raises(ValueError, match='cannot be reached'):
        budget_of(most + 1e-3).check()


def test_a_network_that_is_too_narrow_is_told_so():
    narrow = budget_of(0.1, 6, 5)
    with pytest.raises(ValueError, match='2 too narrow for multiple_of=8'):
        narrow.check()
    budget_of(0.1, 6, 5, multiple_of=1).check()
    with pytest.raises(ValueError, match='no channel can be removed: 1 of'):
        budget_of(groups=Groups([], {'head': 'of reasons'})).check()


@pytest.mark.parametrize('multiple_of', [1, 8])
@pytest.mark.parametrize('allocation', [Global(min_density=0.1), Uniform()])
def test_rounds_go_down_within_what_is_left(multiple_of, allocation):
    """And leave what the last round may round to."""
    options = dict(multiple_of=multiple_of, allocation=allocation)
    budget = budget_of(0.6, 64, 64, **options)
    schedule = Schedule(4)
    within, before = None, -1e-9
    for k in range(1, 5):
        asked = budget
        if k < 4:
            asked = budget.at(lambda final, k=k: schedule.sparsity(final, k))
        channels = asked.select(drawn_scores(budget, k), within)
        removed = 1 - counted(budget, channels) / whole(budget)
        if k < 4:
            assert before <= removed < schedule.sparsity(0.6, k) + 1e-9
        else:
            assert 0.6 - 1e-9 <= removed < 0.75
        if within is not None:
            assert channels & within == channels
        within, before = channels, removed


def test_groups_that_stay_whole_leave_the_budget_to_the_others():
    budget = budget_of(0.3, allocation=Global(min_density=0.1))
    rest = budget.without(['body'])
    channels = rest.select(dict(one=torch.rand(24)))
    assert list(channels) == ['one']
    assert counted(rest, channels) <= 0.7 * whole(budget)
    assert rest.groups.whole['body'] == 'all their scores are exactly zero'
    with pytest.raises(ValueError, match='cannot be reached'):
        budget_of(0.8, allocation=Global(min_density=0.5)).without(
            ['body']
        ).select(dict(one=torch.rand(24)))


PRICE = {'a.weight': 1}


def test_units_of_several_channels_round_by_channels():
    """Under group normalisation, or heads of attention."""
    rows = torch.arange(48).view(16, 3)
    groups = Groups(
        [Group('a', 16, (Member('a.weight', 0, 'producer', rows),))]
    )
    budget = Budget(
        groups,
        {'a.weight': torch.Size([48, 2])},
        {'a.weight': 1},
        0.3,
        Global(),
    )
    channels = budget.select(dict(a=torch.rand(16)))
    assert int(channels['a'].sum()) == 8  # 24 channels, not 33


def test_a_group_norm_keeps_its_multiples_by_itself():
    rows = torch.arange(64).view(8, 8)
    groups = Groups(
        [Group('a', 8, (Member('a.weight', 0, 'producer', rows),))]
    )
    budget = Budget(
        groups,
        {'a.weight': torch.Size([64, 1])},
        {'a.weight': 1},
        0.3,
        Global(),
    )
    assert int(budget.select(dict(a=torch.rand(8)))['a'].sum()) == 5


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(allocation=ERK()), "must be 'global' or 'uniform'"),
        (dict(allocation=ByGlob({'*': 0.5})), "'global' or 'uniform'"),
        (dict(allocation=Global(dense_first=True)), 'dense_first has no'),
        (dict(multiple_of=0), 'multiple_of=0'),
        (dict(multiple_of=True), 'multiple_of=True'),
        (dict(sparsity=1.0), 'sparsity=1.0'),
    ],
)
def test_what_is_no_budget(options, words):
    with pytest.raises(ValueError, match=words):
        budget_of(**options)


def test_scores_that_are_not_finite():
    budget = budget_of()
    scores = drawn_scores(budget, 0)
    scores['body'][3] = math.nan
    with pytest.raises(ValueError, match="'body' are not all finite"):
        budget.select(scores)


def test_selected_units_do_as_masks_of_a_search():
    budget = budget_of(0.3, allocation=Uniform())
    assert isinstance(budget.select(drawn_scores(budget, 1)), Masks)
