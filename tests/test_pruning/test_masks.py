"""Masks are strict, know their density and survive a checkpoint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import Masks


def masks(**rows):
    return Masks({n: torch.tensor(row).bool() for n, row in rows.items()})


@st.composite
def any_masks(draw):
    sides = st.lists(st.integers(1, 5), min_size=0, max_size=4)
    result = {}
    for name in draw(st.sets(st.text('abc.', min_size=1), min_size=1)):
        shape = draw(sides)
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        result[name] = torch.rand(shape, generator=generator) < 0.5
    return Masks(result)


@pytest.mark.parametrize(
    'entry',
    [
        torch.ones(2),
        torch.ones(2, dtype=torch.uint8),
        torch.ones(2, dtype=torch.long),
        [True, False],
        None,
    ],
)
def test_only_bool_tensors_are_masks(entry):
    with pytest.raises(TypeError, match="'conv'.*bool"):
        Masks({'conv': entry})


def test_empty_masks_are_refused():
    with pytest.raises(ValueError, match='nothing is prunable'):
        Masks({})


def test_masks_do_not_change_with_what_they_were_made_of():
    tensor = torch.ones(3, dtype=torch.bool)
    source = {'a': tensor}
    result = Masks(source)
    tensor[0] = False
    source['b'] = tensor
    assert result.kept == 3 and list(result) == ['a']
    with pytest.raises(TypeError):
        result['a'] = tensor


def test_counts():
    result = masks(a=[1, 0, 0, 0], b=[[1, 1], [0, 1]], c=[0, 0])
    assert (result.kept, result.total) == (4, 10)
    assert result.sparsity == pytest.approx(0.6)
    assert result.layers()['b'] == dict(kept=3, total=4, density=0.75)
    assert list(result.layers()) == ['a', 'b', 'c']
    assert result.empty_layers() == ['c']


def test_ones_like_keeps_everything():
    params = dict(a=torch.zeros(2, 3), b=torch.zeros(4))
    result = Masks.ones_like(params)
    assert result.kept == result.total == 10
    result.check_fits(params)


def test_equality_is_that_of_names_and_entries():
    assert masks(a=[1, 0], b=[1]) == masks(b=[1], a=[1, 0])
    assert masks(a=[1, 0]) != masks(a=[1, 1])
    assert masks(a=[1, 0]) != masks(b=[1, 0])
    assert masks(a=[1, 0]) != {'a': torch.tensor([True, False])}


def test_overlap_is_the_share_of_ones_own_kept_weights():
    one = masks(a=[1, 1, 1, 1], b=[0, 0])
    other = masks(a=[1, 1, 0, 0], b=[1, 0])
    assert one.overlap(other) == pytest.approx(2 / 4)
    assert other.overlap(one) == pytest.approx(2 / 3)
    assert one.overlap(one) == 1
    with pytest.raises(ValueError, match='keeps nothing'):
        masks(a=[0]).overlap(masks(a=[1]))
    with pytest.raises(ValueError, match='b: no mask'):
        masks(a=[1]).overlap(masks(a=[1], b=[1]))


def test_every_parameter_that_does_not_fit_is_named():
    params = dict(a=torch.zeros(3), b=torch.zeros(2, 2), d=torch.zeros(1))
    with pytest.raises(ValueError) as error:
        masks(a=[1, 1, 1], b=[1, 1, 1, 1], c=[1]).check_fits(params)
    message = str(error.value)
    assert 'b: mask (4,), weight (2, 2)' in message
    assert 'c: no such weight' in message
    assert 'd: no mask' in message
    assert 'a:' not in message
    masks(a=[1, 1, 1]).check_fits({'a': torch.zeros(3)})


@settings(max_examples=50, deadline=None)
@given(any_masks())
def test_packing_and_unpacking_changes_nothing(original):
    packed = original.pack()
    assert Masks.unpack(packed) == original
    assert list(Masks.unpack(packed)) == list(original)
    size = sum(entry['bits'].numel() for entry in packed.values())
    assert size <= original.total / 8 + len(original)


def test_packed_masks_survive_a_safe_checkpoint(tmp_path):
    original = masks(a=[1, 0, 1], b=[[1, 1], [0, 1]])
    torch.save(dict(epsd=original.pack()), tmp_path / 'x.pth')
    loaded = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert Masks.unpack(loaded['epsd']) == original


def damaged(**changes):
    packed = masks(fine=[1, 1], conv=[1] * 20).pack()
    packed['conv'].update(changes)
    return packed


@pytest.mark.parametrize(
    'packed',
    [
        damaged(bits=None),
        damaged(bits=torch.zeros(3)),
        damaged(bits=torch.zeros(2, dtype=torch.uint8)),
        damaged(bits=torch.zeros(4, dtype=torch.uint8)),
        damaged(shape=None),
        damaged(shape=[4, 4]),
        damaged(shape=[-1, 20]),
        {'conv': {}},
        {'conv': None},
        {'conv': {'bits': torch.zeros(3, dtype=torch.uint8)}},
    ],
    ids=lambda packed: str(packed['conv'])[:40],
)
def test_damaged_packs_are_refused_by_name(packed):
    with pytest.raises(ValueError, match="'conv' is damaged"):
        Masks.unpack(packed)
