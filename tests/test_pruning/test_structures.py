"""What is kept together."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import (
    ERK,
    NM,
    Blocks,
    ByGlob,
    Global,
    Rows,
    Uniform,
    select,
)
from tests.helpers.selections import any_layers, groups, indices

NS_AND_MS = [(1, 2), (2, 4), (1, 4), (3, 4)]


@settings(max_examples=60, deadline=None)
@given(any_layers(), st.sampled_from(NS_AND_MS))
def test_n_of_every_m_input_channels_are_kept(scores, numbers):
    """For every output channel and every place of the kernel."""
    n, m = numbers
    masks = select(scores, 1 - n / m, structure=NM(n, m))
    masks.check_fits(scores)
    for name, mask in masks.items():
        kept = [sum(group) for group in groups(mask, m)]
        assert kept == [n] * (scores[name].numel() // m)


@settings(max_examples=60, deadline=None)
@given(any_layers(), st.sampled_from(NS_AND_MS))
def test_they_are_the_best_of_each_group_and_ties_go_by_index(scores, numbers):
    n, m = numbers
    masks = select(scores, 1 - n / m, structure=NM(n, m))
    for name, mask in masks.items():
        for kept, values in zip(groups(mask, m), groups(scores[name], m)):
            ranking = sorted(range(m), key=lambda i, v=values: (-v[i], i))
            assert {i for i in range(m) if kept[i]} == set(ranking[:n])


@settings(max_examples=30, deadline=None)
@given(any_layers())
def test_memory_format_does_not_change_the_groups(scores):
    strided = {
        name: s.contiguous(memory_format=torch.channels_last)
        if s.dim() == 4
        else s.t().contiguous().t()
        for name, s in scores.items()
    }
    masks = select(strided, 0.5, structure=NM(2, 4))
    assert masks == select(scores, 0.5, structure=NM(2, 4))


def test_masks_of_groups_are_masks_like_any_other():
    """Whatever order their bits have in memory."""
    masks = select({'a': torch.rand(4, 8, 3, 3)}, 0.5, structure=NM(2, 4))
    assert type(masks).unpack(masks.pack()) == masks
    assert masks.shuffled(0).kept == masks.kept


def test_groups_of_a_layer_that_does_not_divide():
    """As in the first convolution of nearly every network."""
    scores = dict(stem=torch.rand(8, 3, 3, 3), conv=torch.rand(8, 8, 3, 3))
    with pytest.raises(ValueError, match="'stem' has 3 input channels") as e:
        select(scores, 0.5, structure=NM(2, 4))
    message = str(e.value)
    assert 'groups of 4 do not divide' in message
    assert 'exclude' in message and 'dense_first=True' in message
    sparsity = 0.5 * scores['conv'].numel() / (8 * 3 * 9 + 8 * 8 * 9)
    masks = select(scores, sparsity, Global(dense_first=True), NM(2, 4))
    assert masks['stem'].all()
    assert {sum(group) for group in groups(masks['conv'], 4)} == {2}


@pytest.mark.parametrize('allocation', [None, Global(dense_first=True)])
def test_a_sparsity_that_contradicts_the_groups_is_told_the_right_one(
    allocation,
):
    scores = dict(stem=torch.rand(8, 4, 3, 3), conv=torch.rand(8, 8, 3, 3))
    with pytest.raises(ValueError, match='2:4 removes a fraction') as e:
        select(scores, 0.9, allocation, NM(2, 4))
    sparsity = float(str(e.value).split('set sparsity=')[1].split()[0])
    masks = select(scores, sparsity, allocation, NM(2, 4))
    assert masks.sparsity == pytest.approx(sparsity, abs=1e-6)


@pytest.mark.parametrize(
    'allocation, given',
    [
        (Global(min_density=0.6), 'min_density=0.6'),
        (ByGlob({'a': 0.4}), "'a': 0.4"),
        (ByGlob({'a': 0.5, 'b': 0.6}), "'b': 0.6"),
    ],
    ids=['floors', 'a structure', 'one of two structures'],
)
def test_an_allocation_that_contradicts_the_groups(allocation, given):
    scores = dict(a=torch.rand(4, 4), b=torch.rand(4, 4))
    with pytest.raises(ValueError, match='every layer density 0.5') as e:
        select(scores, 0.5, allocation, NM(2, 4))
    assert f'so that {given} cannot be met: remove it' in str(e.value)


@pytest.mark.parametrize(
    'allocation',
    [
        Global(),
        Uniform(),
        ERK(),
        Global(min_density=0.5),
        ByGlob({'*': 0.5}),
    ],
    ids=['global', 'uniform', 'erk', 'floors', 'a structure'],
)
def test_allocations_do_not_change_the_groups(allocation):
    scores = dict(a=torch.rand(4, 4), b=torch.rand(8, 4, 3, 3))
    masks = select(scores, 0.5, allocation, NM(2, 4))
    assert masks == select(scores, 0.5, structure=NM(2, 4))


@pytest.mark.parametrize(
    'n, m', [(0, 4), (4, 4), (5, 4), (-1, 4), (2.0, 4), (2, '4'), (0, 0)]
)
def test_numbers_that_are_no_groups(n, m):
    with pytest.raises(ValueError, match='0 < n < m') as e:
        NM(n, m)
    assert f'n={n!r} and m={m!r}' in str(e.value)


def test_the_best_channels_are_kept_as_a_whole():
    """By their mean, not by their best weight."""
    scores = torch.tensor([[0.0, 9.0], [5.0, 5.0], [6.0, 0.0]])
    masks = select({'a': scores}, 0.6, structure=Rows())
    assert masks['a'].tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_channels_of_different_size_compare_by_their_mean():
    scores = dict(wide=torch.full((4, 8), 1.0), narrow=torch.full((4, 2), 2.0))
    masks = select(scores, 0.5, structure=Rows())
    assert masks['narrow'].all()
    assert masks['wide'].sum() == 8


def test_blocks_lie_in_the_matrix_of_output_channels():
    scores = torch.zeros(4, 2, 2, 1)
    scores[0, 1, 0], scores[3, 0, 1] = 2.0, 1.0
    masks = select({'a': scores}, 0.5, structure=Blocks(2, 2))
    matrix = masks['a'].flatten(1).int().tolist()
    assert matrix == [[0, 0, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2


def test_blocks_of_one_weight_are_single_weights():
    scores = dict(a=torch.rand(3, 5, 3, 3), b=torch.rand(7, 11))
    blocks = select(scores, 0.7, structure=Blocks(1, 1))
    assert blocks == select(scores, 0.7)


def test_blocks_of_a_row_are_channels():
    scores = {'a': torch.rand(6, 2, 3, 3)}
    blocks = select(scores, 0.5, structure=Blocks(1, 18))
    assert blocks == select(scores, 0.5, structure=Rows())
    assert len(indices(blocks['a'])) == 54


@pytest.mark.parametrize('rows, columns', [(4, 1), (1, 4), (7, 19)])
def test_blocks_that_do_not_divide_a_layer(rows, columns):
    scores = dict(fine=torch.rand(28, 76), odd=torch.rand(6, 2, 3, 3))
    with pytest.raises(ValueError) as e:
        select(scores, 0.5, structure=Blocks(rows, columns))
    message = str(e.value)
    assert "'odd' is a matrix of 6 x 18 weights" in message
    assert f'blocks of {rows} x {columns} do not divide' in message
    assert 'exclude' in message


@pytest.mark.parametrize(
    'rows, columns, words',
    [
        (0, 4, 'rows=0'),
        (4, -1, 'columns=-1'),
        (2.0, 4, 'rows=2.0'),
        (4, None, 'columns=None'),
    ],
)
def test_numbers_that_are_no_blocks(rows, columns, words):
    with pytest.raises(ValueError, match=words):
        Blocks(rows, columns)


def test_a_dense_layer_need_not_divide():
    scores = dict(stem=torch.rand(5, 3, 3, 3), conv=torch.rand(4, 4, 3, 3))
    masks = select(scores, 0.3, Global(dense_first=True), Blocks(4, 4))
    assert masks['stem'].all() and not masks['conv'].all()


def test_groups_of_n_of_m_say_what_to_take_for_a_ranking():
    with pytest.raises(TypeError, match=r'groups of 2:4 .* take select\(\)'):
        NM(2, 4).pool(torch.ones(2, 4))
