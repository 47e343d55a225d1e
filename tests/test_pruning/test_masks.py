"""Masks are strict, know their density and survive a checkpoint."""

import copy
import os
import re
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsd_mm.pruning import Masks
from tests.helpers.selections import indices


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


def test_what_is_no_mapping_is_refused():
    for what in ([torch.ones(2).bool()], torch.ones(2).bool(), 3):
        with pytest.raises(TypeError, match='by the name of their weight'):
            Masks(what)


def test_masks_of_another_network_are_told_from_those_of_a_model():
    one = Masks(dict(a=torch.ones(2).bool()))
    other = Masks(dict(b=torch.ones(2).bool()))
    with pytest.raises(ValueError, match='the others, .*: a: no such weight'):
        one & other
    with pytest.raises(ValueError, match='fit the model .was it built from'):
        one.check_fits(dict(b=torch.ones(2)))


def test_empty_masks_are_refused():
    with pytest.raises(ValueError, match='nothing is prunable'):
        Masks({})


def test_masks_without_a_weight_are_refused():
    with pytest.raises(ValueError, match=r"'b' has the shape \(0, 3\)"):
        Masks({'a': torch.ones(2) > 0, 'b': torch.ones(0, 3) > 0})


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


@st.composite
def pairs(draw):
    """Two masks of the same weights, often with nothing kept."""
    lengths = draw(
        st.dictionaries(st.text('ab', min_size=1), st.integers(1, 6))
    )
    lengths = lengths or {'a': 3}
    return [
        masks(
            **{
                name: draw(st.lists(st.booleans(), min_size=n, max_size=n))
                for name, n in lengths.items()
            }
        )
        for _ in range(2)
    ]


def places(result):
    """Names and indices of the kept weights."""
    return {(n, i) for n, mask in result.items() for i in indices(mask)}


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_set_operations_are_those_of_sets(pair):
    one, other = pair
    ours, theirs = places(one), places(other)
    assert places(one & other) == ours & theirs
    assert places(one | other) == ours | theirs
    assert (places(one), places(other)) == (ours, theirs)
    if ours:
        assert one.overlap(other) == len(ours & theirs) / len(ours)
    if ours | theirs:
        jaccard = len(ours & theirs) / len(ours | theirs)
        assert one.jaccard(other) == other.jaccard(one) == jaccard
    else:
        with pytest.raises(ValueError, match='keep nothing'):
            one.jaccard(other)


@pytest.mark.parametrize(
    'operation', [Masks.__and__, Masks.__or__, Masks.overlap, Masks.jaccard]
)
def test_set_operations_want_the_same_weights(operation):
    with pytest.raises(ValueError, match='b: no such weight') as e:
        operation(masks(a=[1], b=[1], c=[1]), masks(a=[1], c=[1, 1]))
    assert 'c: mask (1,), weight (2,)' in str(e.value)


def large_masks():
    generator = torch.Generator().manual_seed(0)
    shapes = dict(a=(8, 4, 3, 3), b=(20, 30), full=(5,), empty=(6, 7))
    densities = dict(a=0.5, b=0.05, full=1.1, empty=-1)
    return Masks(
        {
            name: torch.rand(shape, generator=generator) < densities[name]
            for name, shape in shapes.items()
        }
    )


def test_shuffling_keeps_the_numbers_and_moves_the_places():
    original = large_masks()
    before = copy.deepcopy(original)
    shuffled = original.shuffled(0)
    assert shuffled.layers() == original.layers()
    shuffled.check_fits(original)
    assert all((shuffled[n] != original[n]).any() for n in 'ab')
    assert original == before


def test_shuffling_depends_on_the_seed_alone():
    state = torch.get_rng_state()
    first = large_masks().shuffled(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(9)
    assert large_masks().shuffled(3) == first
    assert large_masks().shuffled(4) != first


def test_shuffled_weights_may_go_anywhere():
    original = masks(a=[1, 0, 0, 0])
    found = [original.shuffled(seed) for seed in range(60)]
    assert set.union(*map(places, found)) == {('a', i) for i in range(4)}


def network():
    return masks(
        **{
            'backbone.conv': [1, 0],
            'backbone.body.conv': [0, 1],
            'backbone2.conv': [1, 1],
            'head.fc': [0, 0],
        }
    )


def test_part_is_that_of_whole_names():
    assert network().part('backbone') == masks(
        **{'backbone.conv': [1, 0], 'backbone.body.conv': [0, 1]}
    )
    assert list(network().part('backbone.body')) == ['backbone.body.conv']
    assert network().part('') == network()


def test_part_under_another_name():
    body = masks(**{'conv': [1, 0], 'body.conv': [0, 1]})
    assert network().part('backbone', to='') == body
    assert body.part('', to='model.backbone') == masks(
        **{'model.backbone.conv': [1, 0], 'model.backbone.body.conv': [0, 1]}
    )


@pytest.mark.parametrize('prefix', ['bakbone', 'back', 'conv', 'head.fc'])
def test_part_that_does_not_exist(prefix):
    with pytest.raises(ValueError, match=f"starts with '{prefix}.'") as e:
        network().part(prefix)
    assert 'backbone.conv' in str(e.value)


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


NO_BITS = torch.zeros(0, dtype=torch.uint8)


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
        damaged(shape=[0], bits=NO_BITS, kept=0),
        damaged(shape=[0, 1 << 62, 1 << 62], bits=NO_BITS, kept=0),
        damaged(shape=[20] + [1] * 70),
        {'conv': {}},
        {'conv': None},
        {'conv': {'bits': torch.zeros(3, dtype=torch.uint8)}},
    ],
    ids=lambda packed: str(packed['conv'])[:40],
)
def test_damaged_packs_are_refused_by_name(packed):
    told = "'conv' is damaged: .*; take them from another checkpoint"
    with pytest.raises(ValueError, match=told):
        Masks.unpack(packed)


def old_pack(masks):
    """As it was before there were counts and digests."""
    return {
        name: dict(bits=entry['bits'], shape=entry['shape'])
        for name, entry in masks.pack().items()
    }


def test_packs_of_earlier_versions_are_read(tmp_path):
    original = masks(a=[1, 0, 1], b=[[1, 1], [0, 1]])
    assert Masks.unpack(old_pack(original)) == original
    torch.save(old_pack(original), tmp_path / 'masks.pth')
    assert Masks.load(tmp_path / 'masks.pth') == original


def flip(packed):
    packed['b']['bits'][0] ^= 0b01000000


def swap(packed):
    packed['a'], packed['b'] = packed['b'], packed['a']


@pytest.mark.parametrize(
    'damage',
    [
        flip,
        swap,
        lambda packed: packed.pop('a'),
        lambda packed: packed.update(c=packed.pop('a')),
        lambda packed: packed['a'].update(shape=[2, 4]),
        lambda packed: packed['a'].update(kept=3),
        lambda packed: packed['a'].update(kept=torch.ones(2)),
        lambda packed: packed['a'].update(digest=[1]),
        lambda packed: packed['a'].pop('digest'),
    ],
    ids=[
        'a flipped bit',
        'two layers swapped',
        'a layer gone',
        'a layer renamed',
        'another shape of as many weights',
        'another count',
        'a count that is none',
        'a digest that is none',
        'a digest gone',
    ],
)
def test_other_masks_than_were_packed_are_refused(damage):
    packed = masks(a=[1] * 8, b=[0, 1, 1, 0, 1, 0, 0, 1]).pack()
    damage(packed)
    told = r'packed mask.* damaged.*masks\.pth in its work_dir/epsd$'
    with pytest.raises(ValueError, match=told):
        Masks.unpack(packed)


def test_a_small_file_claims_no_large_masks(tmp_path, monkeypatch):
    """One stored byte, seen 2e8 times: 4.9 GB before they were refused."""
    byte = torch.zeros(1, dtype=torch.uint8)
    claims = {'conv': dict(bits=byte.expand(200_000_000), shape=[40_000] * 2)}
    torch.save(claims, tmp_path / 'one.pth')
    row = torch.zeros(10_000, dtype=torch.uint8)
    torch.save(
        {f'{i}': dict(bits=row, shape=[80_000]) for i in range(1000)},
        tmp_path / 'many.pth',
    )
    monkeypatch.setattr(np, 'unpackbits', limited(np.unpackbits, 100_000))
    for name in ('one.pth', 'many.pth'):
        with pytest.raises(ValueError, match=f'{name}.*not its own'):
            Masks.load(tmp_path / name)


def limited(function, most):
    def call(bits, count):
        assert count <= most
        return function(bits, count=count)

    return call


def test_a_compressed_file_claims_nothing(tmp_path):
    """A thousand bytes may stand for one there."""
    path, small = tmp_path / 'masks.pth', tmp_path / 'small.pth'
    masks(a=[0] * 8_000_000).save(path)
    with ZipFile(path) as whole, ZipFile(small, 'w', ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    assert small.stat().st_size < path.stat().st_size / 100
    with pytest.raises(ValueError, match='small.pth'):
        Masks.load(small)


def test_equal_masks_have_one_digest_and_others_another():
    one = masks(a=[1, 0, 1], b=[0, 1])
    same = masks(b=[0, 1], a=[1, 0, 1])
    assert one.digest == same.digest
    others = [
        masks(a=[1, 0, 1], b=[1, 1]),
        masks(a=[1, 0, 1], c=[0, 1]),
        masks(a=[1, 0, 1, 0], b=[0, 1]),
        masks(a=[1, 0, 1], b=[[0], [1]]),
        masks(a=[1, 0, 1]),
    ]
    assert len({m.digest for m in [one, *others]}) == 6


@settings(max_examples=30, deadline=None)
@given(original=any_masks())
def test_saving_and_loading_changes_nothing(original, tmp_path_factory):
    path = tmp_path_factory.mktemp('masks') / 'masks.pth'
    original.save(path)
    loaded = Masks.load(path)
    assert loaded == original
    assert list(loaded) == list(original)
    assert [p.name for p in path.parent.iterdir()] == ['masks.pth']


def test_files_are_small_safe_and_for_all_to_read(tmp_path):
    original = masks(a=[1] * 80_000)
    original.save(tmp_path / 'masks.pth')
    original.save(str(tmp_path / 'other.pth'))
    saved = torch.load(tmp_path / 'masks.pth', weights_only=True)
    assert Masks.unpack(saved) == original
    assert (tmp_path / 'masks.pth').stat().st_size < 12_000
    assert (tmp_path / 'masks.pth').stat().st_mode & 0o777 == 0o644
    assert Masks.load(str(tmp_path / 'other.pth')) == original


def test_a_file_name_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masks(a=[1, 0]).save('masks.pth')
    assert Masks.load('masks.pth') == masks(a=[1, 0])


@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()])
def test_saving_that_fails_half_way_leaves_what_was_there(
    error, tmp_path, monkeypatch
):
    path = tmp_path / 'masks.pth'
    masks(a=[1, 0]).save(path)

    def half(content, file):
        file.write(b'half')
        raise error

    monkeypatch.setattr(torch, 'save', half)
    with pytest.raises(type(error)):
        masks(a=[0, 1]).save(path)
    with pytest.raises(type(error)):
        masks(a=[0, 1]).save(tmp_path / 'new.pth')
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ['masks.pth']
    assert Masks.load(path) == masks(a=[1, 0])


def test_masks_come_from_a_checkpoint(tmp_path):
    original = masks(a=[1, 0, 1], b=[[1, 1], [0, 1]])
    checkpoint = dict(
        meta=dict(epoch=1),
        state_dict=dict(a=torch.rand(3)),
        epsd=dict(masks=original.pack(), identity=dict(sparsity=0.3)),
    )
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    assert Masks.load(tmp_path / 'epoch_1.pth') == original


class Foreign:
    """What only an unsafe load would run."""

    def __reduce__(self):
        return os.mkdir, ('executed',)


@pytest.mark.parametrize('content', [Foreign(), dict(a=Foreign())])
def test_files_with_code_are_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, 'masks.pth')
    with pytest.raises(ValueError, match='more than tensors') as e:
        Masks.load('masks.pth')
    assert 'masks.pth holds' in str(e.value)
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    'content',
    [
        {},
        [1, 2],
        torch.ones(3, dtype=torch.bool),
        {'conv.weight': torch.rand(3, 3)},
        {'conv.weight': torch.ones(3, 3, dtype=torch.bool)},
        {'state_dict': {'conv.weight': torch.rand(3, 3)}, 'meta': {}},
        {'state_dict': {}, 'epsd': {'identity': {}}},
        {'epsd': None},
    ],
    ids=[
        'nothing',
        'a list',
        'a tensor',
        'weights',
        'bare masks',
        'a plain checkpoint',
        'a checkpoint that was not pruned',
        'a checkpoint with nothing',
    ],
)
def test_files_without_masks_are_refused(content, tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(content, path)
    with pytest.raises(ValueError, match=re.escape(f'{path} holds no masks')):
        Masks.load(path)


@pytest.mark.parametrize('share', [0, 0.5, 0.95])
def test_files_that_are_cut_off_are_refused(share, tmp_path):
    path = tmp_path / 'masks.pth'
    large_masks().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        Masks.load(path)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / 'masks.txt'
    path.write_text('hello world\n')
    with pytest.raises(ValueError, match=re.escape(str(path))):
        Masks.load(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        Masks.load(tmp_path / 'nowhere.pth')


def test_report_has_a_line_for_each_layer_and_the_total():
    result = Masks(
        {
            'conv': torch.arange(12_000) < 3000,
            'a.long.name': torch.zeros(2, 2) > 0,
        }
    )
    lines = [line.split() for line in result.report().splitlines()]
    assert lines == [
        ['conv', '3,000', 'of', '12,000', '25.000%'],
        ['a.long.name', '0', 'of', '4', '0.000%'],
        ['all', 'layers', '3,000', 'of', '12,004', '24.992%'],
    ]
    assert len({len(line) for line in result.report().splitlines()}) == 1
