"""How the weights that are kept are divided among the layers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import (
    ERK,
    ByGlob,
    Global,
    Masks,
    Rows,
    Uniform,
    Weights,
    select,
)
from tests.helpers.selections import (
    any_layers,
    erdos_renyi_kernel,
    number_of_weights,
)

FLOORED = dict(
    together=lambda floor: Global(min_density=floor),
    uniform=lambda floor: Uniform(min_density=floor),
    erk=lambda floor: ERK(min_density=floor),
)


def random_scores(**shapes):
    return {name: torch.rand(shape) for name, shape in shapes.items()}


def kept(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def selected(scores, keep, allocation, structure=None):
    """Masks of exactly so many weights, if single ones are asked for."""
    sparsity = 1 - keep / number_of_weights(scores)
    return select(scores, sparsity, allocation, structure)


def named_sparsity(error):
    """The one that an error says can be reached."""
    return float(str(error.value).split(' allow ')[1].split()[0])


@st.composite
def shares(draw):
    """Scores and a number of weights to keep, not none and not all."""
    scores = draw(any_layers())
    total = number_of_weights(scores)
    return scores, draw(st.integers(1, total - 1))


@settings(max_examples=60, deadline=None)
@given(shares())
def test_uniform_gives_every_layer_the_same_density(share):
    scores, keep = share
    masks = selected(scores, keep, Uniform())
    assert masks.kept == keep
    density = keep / masks.total
    for name, count in kept(masks).items():
        assert abs(count - density * scores[name].numel()) < 1


@pytest.mark.parametrize(
    'allocation', [Uniform(), ERK()], ids=['uniform', 'erk']
)
def test_one_layer_does_not_take_what_units_of_another_leave(allocation):
    """Large channels leave a rest that small ones must not fill up."""
    scores = random_scores(large=(10, 1000), small=(100, 10))
    masks = selected(scores, 6545, allocation, Rows())
    shapes = {name: s.shape for name, s in scores.items()}
    density = dict(large=0.595, small=0.595)
    if isinstance(allocation, ERK):
        density = erdos_renyi_kernel(shapes, 6545)
    for name, count in kept(masks).items():
        unit, total = math.prod(shapes[name][1:]), math.prod(shapes[name])
        assert abs(count - density[name] * total) < unit + 1e-6


@settings(max_examples=100, deadline=None)
@given(shares())
def test_erk_has_the_densities_of_its_authors(share):
    scores, keep = share
    masks = selected(scores, keep, ERK())
    assert masks.kept == keep
    shapes = {name: s.shape for name, s in scores.items()}
    for name, density in erdos_renyi_kernel(shapes, keep).items():
        total = math.prod(shapes[name])
        count = int(masks[name].sum())
        assert abs(count - density * total) < 1 + 1e-6
        assert density < 1 or count == total


def test_erk_by_hand():
    """Where no layer is full, the sums of the sides tell the numbers."""
    scores = random_scores(a=(4, 4), b=(4, 8), c=(4, 6, 1, 3))
    assert kept(selected(scores, 34, ERK())) == dict(a=8, b=12, c=14)
    assert kept(selected(scores, 68, ERK())) == dict(a=16, b=24, c=28)
    assert kept(selected(scores, 81, ERK())) == dict(a=16, b=30, c=35)
    assert kept(selected(scores, 94, ERK())) == dict(a=16, b=32, c=46)


@settings(max_examples=60, deadline=None)
@given(
    shares(),
    st.sampled_from(sorted(FLOORED)),
    st.floats(0, 1, exclude_max=True),
)
def test_floors_hold_in_every_layer_and_the_total_stays(share, kind, part):
    scores, keep = share
    floor = part * keep / number_of_weights(scores)
    needed = {
        n: math.ceil(floor * s.numel() - 1e-9) for n, s in scores.items()
    }
    keep = max(keep, sum(needed.values()))
    masks = selected(scores, keep, FLOORED[kind](floor))
    assert masks.kept == keep
    assert all(count >= needed[n] for n, count in kept(masks).items())


def test_only_layers_below_their_floor_are_lifted():
    """The others stay one ranking, and a layer gets its best weights."""
    scores = dict(
        low=torch.arange(10.0),
        middle=torch.arange(100.0, 110.0),
        high=torch.arange(200.0, 210.0),
    )
    masks = selected(scores, 15, Global(min_density=0.2))
    assert kept(masks) == dict(low=2, middle=3, high=10)
    assert masks['low'].tolist() == [False] * 8 + [True] * 2


def test_a_floor_can_push_other_layers_to_theirs():
    scores = dict(
        low=torch.zeros(10),
        middle=torch.arange(100.0, 110.0),
        high=torch.arange(200.0, 210.0),
    )
    masks = selected(scores, 13, Global(min_density=0.3))
    assert kept(masks) == dict(low=3, middle=3, high=7)


@pytest.mark.parametrize('kind', FLOORED)
def test_floors_count_whole_channels(kind):
    scores = {'a': torch.zeros(10, 4), 'b': torch.rand(10, 4) + 1}
    masks = selected(scores, 40, FLOORED[kind](0.25), Rows())
    assert masks.kept == 40 and kept(masks)['a'] >= 12


@pytest.mark.parametrize('floor', [-0.1, 1.1, float('nan'), 50])
@pytest.mark.parametrize('kind', FLOORED)
def test_floors_outside_of_their_range(kind, floor):
    with pytest.raises(ValueError, match=f'min_density={floor}'):
        FLOORED[kind](floor)


def test_a_layer_gets_the_sparsity_of_the_first_glob_that_matches():
    scores = random_scores(
        **{'body.0': (10, 10), 'body.1': (10, 10), 'head': (10, 10)}
    )
    sparsities = {'body.0': 0.9, 'body.*': 0.2, 'head': 0.4}
    masks = select(scores, 0.5, ByGlob(sparsities))
    assert kept(masks) == {'body.0': 10, 'body.1': 80, 'head': 60}


def test_layers_that_no_glob_matches_make_the_total():
    scores = dict(
        a=torch.rand(10, 10) - 5, b=torch.rand(50), c=torch.rand(50) + 1
    )
    masks = select(scores, 0.5, ByGlob({'a': 0.25}))
    assert kept(masks) == dict(a=75, b=0, c=25)


@settings(max_examples=60, deadline=None)
@given(any_layers(), st.floats(0, 1, exclude_max=True))
def test_one_sparsity_for_all_globs_is_uniform(scores, sparsity):
    """Rounding layer by layer does not change the total."""
    masks = select(scores, sparsity, ByGlob({'*': sparsity}))
    assert masks.kept == round((1 - sparsity) * masks.total)
    for name, count in kept(masks).items():
        assert abs(count - (1 - sparsity) * scores[name].numel()) <= 1


def test_a_glob_that_matches_nothing_is_named():
    scores = random_scores(body=(4, 4), head=(4, 4))
    with pytest.raises(ValueError, match="'boody' matches no prunable") as e:
        select(scores, 0.5, ByGlob({'head': 0.5, 'boody': 0.5}))
    assert "mean 'body'?" in str(e.value)


@pytest.mark.parametrize(
    'sparsities', [None, {}, [0.5], 0.5, {'*': 1}, {'*': 1.5}, {'*': '0.5'}]
)
def test_what_is_no_dict_of_sparsities(sparsities):
    with pytest.raises(ValueError, match='must be a'):
        ByGlob(sparsities)


@pytest.mark.parametrize('sparsity, side', [(0.4, 'least'), (0.6, 'most')])
def test_globs_of_all_layers_that_contradict_the_total(sparsity, side):
    scores = random_scores(a=(10, 10), b=(10, 10))
    allocation = ByGlob({'a': 0.3, 'b': 0.7})
    with pytest.raises(ValueError, match=f'allow 0.50* at {side}'):
        select(scores, sparsity, allocation)
    assert kept(select(scores, 0.5, allocation)) == dict(a=70, b=30)


def test_sparsities_by_glob_of_a_layer_that_is_empty_already():
    """As in the later rounds of an iterative criterion."""
    scores = random_scores(a=(4, 4), b=(4, 4))
    within = Masks({'a': torch.zeros(4, 4) > 0, 'b': torch.ones(4, 4) > 0})
    masks = select(scores, 0.75, ByGlob({'*': 0.5}), within=within)
    assert kept(masks) == dict(a=0, b=8)


def test_dense_layers_are_those_of_the_model_and_count():
    scores = random_scores(
        stem=(4, 4), z=(4, 3, 3, 3), a=(4, 4, 3, 3), head=(5, 8), last=(4, 8)
    )
    for name in ('z', 'last'):
        scores[name] -= 1
    masks = selected(scores, 200, Global(dense_first=True, dense_last=True))
    assert masks.kept == 200
    assert masks['z'].all() and masks['last'].all()
    assert not any(masks[n].all() for n in ('stem', 'a', 'head'))


@pytest.mark.parametrize('kind', [Uniform, ERK])
def test_other_layers_share_what_dense_ones_leave(kind):
    scores = random_scores(conv=(2, 2, 5, 5), a=(10, 10), b=(10, 10))
    masks = selected(scores, 160, kind(dense_first=True))
    assert kept(masks) == dict(conv=100, a=30, b=30)


@pytest.mark.parametrize(
    'option, shape, words',
    [
        ('dense_first', (4, 4), 'dense_first=True.*convolution'),
        ('dense_last', (4, 4, 3, 3), 'dense_last=True.*linear layer'),
    ],
)
def test_dense_without_a_layer_of_the_kind(option, shape, words):
    with pytest.raises(ValueError, match=words):
        select(random_scores(a=shape), 0.5, Global(**{option: True}))


def test_nothing_is_left_to_remove():
    with pytest.raises(ValueError, match='every layer is kept dense'):
        select(random_scores(a=(4, 4)), 0.5, Global(dense_last=True))


@pytest.mark.parametrize(
    'allocation',
    [
        Global(min_density=0.7),
        Uniform(min_density=0.7),
        ERK(dense_first=True),
        Global(dense_first=True, dense_last=True),
        ByGlob({'a': 0.1}),
        ByGlob({'a': 0.1}, min_density=0.3),
        ByGlob({'a': 0.2, 'b': 0.3, 'c': 0.4}),
        ByGlob({'*': 0.2}, min_density=0.3),
    ],
    ids=[
        'floors',
        'uniform floors',
        'dense first',
        'dense first and last',
        'one glob',
        'one glob and floors',
        'all globs',
        'all globs and floors',
    ],
)
@pytest.mark.parametrize(
    'structure', [Weights(), Rows()], ids=['weights', 'rows']
)
def test_a_sparsity_out_of_reach_is_told_one_within(allocation, structure):
    scores = random_scores(a=(6, 3, 3, 3), b=(6, 8), c=(5, 4))
    with pytest.raises(ValueError, match='sparsity=0.99 .* at most') as e:
        select(scores, 0.99, allocation, structure)
    sparsity = named_sparsity(e)
    select(scores, sparsity, allocation, structure)
    # And not one more than is needed.
    with pytest.raises(ValueError, match='cannot be reached'):
        select(scores, sparsity + 0.02, allocation, structure)


@pytest.mark.parametrize(
    'sparsity, floor, shapes',
    [(0.5, 0.7, [(3,), (4,)]), (0.99, 0.1234562, [(3000, 1001)])],
    ids=['half a weight', 'many weights'],
)
def test_the_sparsity_within_reach_is_rounded_to_that_side(
    sparsity, floor, shapes
):
    scores = {str(i): torch.rand(shape) for i, shape in enumerate(shapes)}
    with pytest.raises(ValueError, match='at most') as e:
        select(scores, sparsity, Global(min_density=floor))
    select(scores, named_sparsity(e), Global(min_density=floor))
