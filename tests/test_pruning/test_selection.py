"""The highest scores are kept, and exactly as many as were asked for."""

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import (
    ERK,
    NM,
    Blocks,
    ByGlob,
    Global,
    Masks,
    Rows,
    Target,
    Uniform,
    Weights,
    select,
)
from tests.helpers.selections import (
    BLOCKS,
    any_layers,
    indices,
    number_of_weights,
    ranking,
    units_of,
)

STRUCTURES = dict(weights=Weights(), rows=Rows(), blocks=Blocks(*BLOCKS))
ALLOCATIONS = dict(
    together=Global(),
    floors=Global(min_density=0.2),
    uniform=Uniform(),
    uniform_floors=Uniform(min_density=0.2),
    erk=ERK(),
    erk_floors=ERK(min_density=0.2),
    by_glob=ByGlob({'a': 0.3}),
    by_globs=ByGlob({'[ab]': 0.6}, min_density=0.1),
    dense_first=Global(dense_first=True),
    dense_last=ERK(dense_last=True),
)
sparsities = st.floats(0, 1, exclude_max=True)
structures = st.sampled_from(sorted(STRUCTURES))


@st.composite
def any_rows(draw):
    """Few distinct values, so that most of them are ties."""
    values = st.sampled_from([0.0, -0.0, 1e-30, 0.5, 1.0, 3e30])
    names = draw(st.lists(st.text('ab', min_size=1), min_size=1, unique=True))
    rows = st.lists(values, min_size=1, max_size=40)
    return {name: torch.tensor(draw(rows)) for name in names}


@st.composite
def selections(draw):
    """Scores, a number of weights, a name of each table, and the masks."""
    scores = draw(any_layers())
    allocation = draw(st.sampled_from(sorted(ALLOCATIONS)))
    structure = draw(structures)
    total = number_of_weights(scores)
    keep = draw(st.integers(1, total))
    keep, masks = reached(scores, keep, allocation, structure)
    return scores, keep, allocation, structure, masks


def reached(scores, keep, allocation, structure, within=None):
    """The masks, at a sparsity that an error names where that is needed."""
    total = number_of_weights(scores)
    sparsity = 1 - keep / total
    for _ in range(3):
        try:
            masks = select(
                scores,
                sparsity,
                ALLOCATIONS[allocation],
                STRUCTURES[structure],
                within,
            )
            return round((1 - sparsity) * total), masks
        except ValueError as e:
            if ' allow ' not in str(e):
                raise
            sparsity = float(str(e).split(' allow ')[1].split()[0])
    raise AssertionError('errors name no sparsity that can be reached')


def largest_unit(scores, structure):
    return max(len(units_of(structure, s.shape)[0]) for s in scores.values())


@settings(max_examples=100, deadline=None)
@given(any_rows(), sparsities)
@example({'a': torch.zeros(1000)}, 0.9)
@example({'a': torch.tensor([0.0, -0.0, 0.0, -0.0])}, 0.5)
@example({'a': torch.ones(5)}, 0.9)
@example({'a': torch.ones(3)}, 0.0)
def test_count_is_exact_and_the_highest_are_kept(scores, sparsity):
    masks = select(scores, sparsity)
    total = number_of_weights(scores)
    assert masks.kept == round((1 - sparsity) * total)
    kept = [s[masks[n]] for n, s in scores.items()]
    removed = [s[~masks[n]] for n, s in scores.items()]
    kept, removed = torch.cat(kept), torch.cat(removed)
    if len(kept) and len(removed):
        assert kept.min() >= removed.max()


@settings(max_examples=60, deadline=None)
@given(selections())
def test_every_allocation_of_every_structure_meets_the_total(selection):
    """Exactly with single weights, else by less than a unit."""
    scores, keep, _, structure, masks = selection
    missing = keep - masks.kept
    assert 0 <= missing < largest_unit(scores, structure)


@pytest.mark.parametrize('left', [2, 1])
def test_what_no_large_unit_takes_is_more_than_small_ones_have(left):
    """Of 46 weights 36 go to large channels, the small ones have 4."""
    scores = dict(large=torch.rand(4, 18), small=torch.rand(2, 2))
    within = Masks({n: torch.ones(s.shape).bool() for n, s in scores.items()})
    within['small'][left:] = False
    masks = select(scores, 30 / 76, ByGlob({'large': 0.5}), Rows(), within)
    assert int(masks['large'].sum()) == 36
    assert torch.equal(masks['small'], within['small'])


@settings(max_examples=60, deadline=None)
@given(selections())
def test_the_best_whole_units_of_every_layer_are_kept(selection):
    """Whatever its share, a layer keeps the head of its own ranking."""
    scores, _, _, structure, masks = selection
    for name, tensor in scores.items():
        best = [unit for _, unit in ranking({name: tensor}, structure)]
        count = int(masks[name].sum()) // len(best[0])
        assert indices(masks[name]) == {i for u in best[:count] for i in u}


@settings(max_examples=60, deadline=None)
@given(any_layers(), sparsities, structures)
def test_all_layers_together_are_one_ranking(scores, sparsity, structure):
    """As many units as fit, ties by name and then by index."""
    keep = round((1 - sparsity) * number_of_weights(scores))
    expected = {name: set() for name in scores}
    for name, unit in ranking(scores, structure):
        keep -= len(unit)
        if keep < 0:
            break
        expected[name] |= set(unit)
    masks = select(scores, sparsity, structure=STRUCTURES[structure])
    assert {n: indices(mask) for n, mask in masks.items()} == expected


@settings(max_examples=50, deadline=None)
@given(selections(), st.randoms(use_true_random=False))
def test_order_of_the_layers_does_not_matter(selection, rng):
    scores, keep, allocation, structure, masks = selection
    options = ALLOCATIONS[allocation]
    if options.dense_first or options.dense_last:
        # First and last are those of the model.
        options = Global()
        masks = select(
            scores, 1 - keep / masks.total, options, STRUCTURES[structure]
        )
    names = list(scores)
    rng.shuffle(names)
    shuffled = select(
        {n: scores[n] for n in names},
        1 - keep / masks.total,
        options,
        STRUCTURES[structure],
    )
    assert shuffled == masks
    assert list(shuffled) == names


@settings(max_examples=60, deadline=None)
@given(selections())
def test_memory_format_of_the_scores_does_not_matter(selection):
    scores, keep, allocation, structure, masks = selection
    strided = {
        name: tensor.contiguous(memory_format=torch.channels_last)
        if tensor.dim() == 4
        else tensor.t().contiguous().t()
        for name, tensor in scores.items()
    }
    assert (
        select(
            strided,
            1 - keep / masks.total,
            ALLOCATIONS[allocation],
            STRUCTURES[structure],
        )
        == masks
    )


@settings(max_examples=60, deadline=None)
@given(selections(), st.integers(0, 99), st.floats(0.1, 1))
def test_nothing_outside_of_the_given_masks_is_kept(selection, seed, share):
    """Also where the scores of what is left are the lowest of all."""
    scores, keep, allocation, structure, within = selection
    assume(within.kept)
    generator = torch.Generator().manual_seed(seed)
    others = {
        name: torch.randint(-9, 9, s.shape, generator=generator).float()
        - 100 * within[name]
        for name, s in scores.items()
    }
    keep = max(1, int(share * within.kept))
    keep, masks = reached(others, keep, allocation, structure, within)
    assert all((mask <= within[n]).all() for n, mask in masks.items())
    assert 0 <= keep - masks.kept < largest_unit(scores, structure)


@pytest.mark.parametrize(
    'allocation, structure',
    [(Global(), NM(2, 4)), (Uniform(dense_last=True), Weights())],
    ids=['n of m', 'dense'],
)
def test_given_masks_hold_for_dense_layers_and_groups(allocation, structure):
    scores = {'a': torch.rand(4, 8), 'b': torch.rand(4, 8)}
    within = select({n: s.flip(1) for n, s in scores.items()}, 0.25)
    try:
        masks = select(scores, 0.5, allocation, structure, within)
    except ValueError:
        # To refuse is to keep nothing outside, too.
        return
    assert all((mask <= within[n]).all() for n, mask in masks.items())


def test_all_that_is_left_is_kept_whatever_it_scores():
    within = Masks({'a': torch.tensor([True, False, True, False])})
    scores = {'a': torch.tensor([-5.0, 9.0, -7.0, 9.0])}
    assert select(scores, 0.5, within=within) == within


def test_ties_go_by_name_and_then_by_index():
    scores = dict(b=torch.ones(2, 2), a=torch.ones(3), c=torch.ones(3))
    masks = select(scores, 0.5)
    assert masks['a'].tolist() == [True] * 3
    assert masks['b'].tolist() == [[True, True], [False, False]]
    assert not masks['c'].any()


def test_negative_zero_ties_with_zero():
    scores = {'a': torch.tensor([-0.0, 0.0, -0.0, 1.0])}
    assert select(scores, 0.5)['a'].tolist() == [True, False, False] + [True]


def test_layers_are_ranked_together():
    scores = dict(small=torch.full((4,), 0.1), large=torch.full((4,), 0.2))
    masks = select(scores, 0.5)
    assert masks.empty_layers() == ['small']
    assert masks['large'].all()


@pytest.mark.parametrize('structure', [*STRUCTURES.values(), NM(2, 4)])
def test_shapes_and_scores_stay(structure):
    scores = {'a': torch.rand(4, 8, 3, 3), 'b': torch.rand(2, 4)}
    before = {name: tensor.clone() for name, tensor in scores.items()}
    masks = select(scores, 0.5, structure=structure)
    masks.check_fits(scores)
    assert all(torch.equal(scores[name], before[name]) for name in scores)


def test_differences_below_single_precision_count():
    """Also where another layer has fewer digits."""
    fine = 1 + torch.arange(4, dtype=torch.float64) * 1e-12
    scores = dict(a=fine, b=torch.full((4,), 0.5, dtype=torch.bfloat16))
    masks = select(scores, 0.75)
    assert masks['a'].tolist() == [False, False, True, True]
    assert not masks['b'].any()


@settings(max_examples=100, deadline=None)
@given(selections())
def test_a_layer_is_certainly_empty_where_the_best_scores_do_not_help(
    selection,
):
    scores, keep, allocation, structure, masks = selection
    parts = ALLOCATIONS[allocation], STRUCTURES[structure]
    sparsity = 1 - keep / masks.total
    certain = Target.over(scores, sparsity, *parts).certainly_empty()
    assert set(certain) <= set(masks.empty_layers())
    for name in masks.empty_layers():
        best = scores | {name: scores[name] + 1e6}
        helped = select(best, sparsity, *parts)[name].any()
        assert helped == (name not in certain)


@pytest.mark.parametrize('sparsity', [1, 1.5, -0.1, '0.9', None, True, 90])
def test_sparsity_outside_of_its_range(sparsity):
    with pytest.raises(ValueError, match=r'must be a number in \[0, 1\)'):
        select({'a': torch.rand(4)}, sparsity)


def test_nan_is_no_sparsity():
    with pytest.raises(ValueError, match='sparsity=nan'):
        select({'a': torch.rand(4)}, float('nan'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_scores_that_are_not_finite_are_refused_by_name(value):
    scores = {'a': torch.rand(4), 'b': torch.tensor([1.0, value])}
    with pytest.raises(ValueError, match="scores of 'b' are not all finite"):
        select(scores, 0.5)
