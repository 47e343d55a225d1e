"""Exactly the asked number of weights is kept, the highest scores."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import select

sparsities = st.floats(0, 1, exclude_max=True)


@st.composite
def any_scores(draw):
    """Few distinct values, so that most of them are ties."""
    values = st.sampled_from([0.0, -0.0, 1e-30, 0.5, 1.0, 3e30])
    names = draw(st.lists(st.text('ab', min_size=1), min_size=1, unique=True))
    rows = st.lists(values, min_size=1, max_size=40)
    return {name: torch.tensor(draw(rows)) for name in names}


@settings(max_examples=200, deadline=None)
@given(any_scores(), sparsities)
@example({'a': torch.zeros(1000)}, 0.9)
@example({'a': torch.tensor([0.0, -0.0, 0.0, -0.0])}, 0.5)
@example({'a': torch.ones(5)}, 0.9)
@example({'a': torch.ones(3)}, 0.0)
def test_count_is_exact_and_the_highest_are_kept(scores, sparsity):
    masks = select(scores, sparsity)
    total = sum(s.numel() for s in scores.values())
    assert masks.kept == round((1 - sparsity) * total)
    kept = [s[masks[n]] for n, s in scores.items()]
    removed = [s[~masks[n]] for n, s in scores.items()]
    kept, removed = torch.cat(kept), torch.cat(removed)
    if len(kept) and len(removed):
        assert kept.min() >= removed.max()


@settings(max_examples=50, deadline=None)
@given(any_scores(), sparsities, st.randoms(use_true_random=False))
def test_order_of_the_layers_does_not_matter(scores, sparsity, rng):
    names = list(scores)
    rng.shuffle(names)
    shuffled = select({n: scores[n] for n in names}, sparsity)
    assert shuffled == select(scores, sparsity)
    assert list(shuffled) == names


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


def test_shapes_and_scores_stay():
    scores = {'a': torch.rand(2, 3, 1, 1)}
    before = scores['a'].clone()
    assert select(scores, 0.5)['a'].shape == (2, 3, 1, 1)
    assert torch.equal(scores['a'], before)


@pytest.mark.parametrize('sparsity', [1, 1.5, -0.1, '0.9', None, True, 90])
def test_sparsity_outside_of_its_range(sparsity):
    with pytest.raises(ValueError, match=r'must be a number in \[0, 1\)'):
        select({'a': torch.rand(4)}, sparsity)


def test_nan_is_no_sparsity():
    with pytest.raises(ValueError, match='sparsity=nan'):
        select({'a': torch.rand(4)}, float('nan'))
