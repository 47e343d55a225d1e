"""Channels as a value: what they hold, say, and are made of on the disk."""

import pytest
import torch

from epsd_mm.pruning import Ledger, MaskKeeper, Masks
from epsd_mm.structure import Channels, Groups
from tests.helpers.units import Branches, branches_groups


@pytest.fixture
def groups():
    return branches_groups()


@pytest.fixture
def some():
    one = torch.tensor([True, False, True, True, False, True])
    body = torch.tensor([False, True, True, False, True])
    return Channels(dict(one=one, body=body))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Branches().double()


def test_channels_are_not_taken_for_masks_of_weights(model, some, groups):
    before = {n: p.clone() for n, p in params_of(model).items()}
    for use in (
        lambda: MaskKeeper(model, some),
        lambda: some.check_fits(params_of(model)),
        lambda: some & Masks({n: torch.ones(2).bool() for n in some}),
    ):
        with pytest.raises(ValueError, match=r'take channels\.masks\(groups'):
            use()
    after = params_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def params_of(model):
    return dict(model.named_parameters())


@pytest.mark.parametrize('training', [True, False])
def test_what_is_removed_emits_exactly_zero(model, groups, some, training):
    model.train(training)
    for norm in (model.norm1, model.norm2):
        norm.running_mean.uniform_(-1, 1)
    MaskKeeper(model, some.masks(groups, params_of(model)))
    seen = {}
    for name in ('norm1', 'norm2', 'body'):
        layer = getattr(model, name)
        layer.register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
    model(torch.randn(4, 2, 6, 6, dtype=torch.float64))
    for name, kept in [('norm1', 'one'), ('norm2', 'one'), ('body', 'body')]:
        emitted = seen[name].abs().sum((0, 2, 3))
        assert torch.equal(emitted != 0, some[kept])


def test_masks_are_of_all_that_belongs_to_a_unit(model, groups, some):
    masks = some.masks(groups, params_of(model))
    one, body = some['one'], some['body']
    for name in ('norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias'):
        assert torch.equal(masks[name], one)
    for name in ('one.weight', 'two.weight'):
        assert torch.equal(masks[name].flatten(1).all(1), one)
        assert torch.equal(masks[name].flatten(1).any(1), one)
    assert torch.equal(masks['body.bias'], body)
    assert torch.equal(masks['body.weight'][..., 1, 1], body[:, None] & one)
    assert torch.equal(masks['head.weight'][0], body.repeat_interleave(4))
    assert 'head.bias' not in masks
    kept = [name for name in params_of(model) if name in masks]
    assert list(masks) == kept


def test_only_what_is_asked_for_gets_a_mask(model, groups, some):
    weight = dict(params_of(model))
    weight = {name: weight[name] for name in ('two.weight', 'norm2.bias')}
    assert list(some.masks(groups, weight)) == ['two.weight', 'norm2.bias']


def test_channels_of_another_network_are_told(groups, some):
    wider = branches_groups(width=7)
    with pytest.raises(ValueError, match='one: 6 units, the network has 7'):
        some.masks(wider, {})
    fewer = Groups([groups['body']])
    with pytest.raises(ValueError, match='one: no such group'):
        some.check_groups(fewer)
    with pytest.raises(ValueError, match='body: no channels'):
        Channels(dict(one=some['one'])).check_groups(groups)


def test_set_operations_stay_channels(groups, some):
    every = Channels.all_of(groups)
    assert every & some == some and type(every & some) is Channels
    assert some | every == every
    assert every.sparsity == 0 and some.kept == 7 and some.total == 11
    assert some.overlap(every) == 1 and some.jaccard(every) == 7 / 11
    shuffled = some.shuffled(1)
    assert type(shuffled) is Channels
    assert [int(row.sum()) for row in shuffled.values()] == [4, 3]
    assert repr(some).startswith('Channels(2 groups, kept 7 of 11')
    assert 'all groups' in some.report()


@pytest.mark.parametrize(
    'kept, error, words',
    [
        (dict(a=torch.ones(3)), TypeError, 'must be a bool tensor'),
        (dict(a=torch.ones(3, 2, dtype=torch.bool)), ValueError, 'one row'),
        ({}, ValueError, 'empty'),
    ],
)
def test_what_are_no_channels(kept, error, words):
    with pytest.raises(error, match=words):
        Channels(kept)


def test_they_come_back_from_a_file(some, tmp_path):
    path = tmp_path / 'channels.pth'
    some.save(path)
    back = Channels.load(path)
    assert back == some and type(back) is Channels
    assert back.digest == some.digest
    assert not [p for p in tmp_path.iterdir() if p != path]


def test_a_checkpoint_has_both(some, tmp_path):
    masks = Masks({'w': torch.tensor([True, False])})
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(epsd=dict(masks=masks.pack(), channels=some.pack())), path)
    assert Channels.load(path) == some
    assert Masks.load(path) == masks


def test_neither_is_taken_for_the_other(some, tmp_path):
    some.save(tmp_path / 'channels.pth')
    masks = Masks({'w': torch.tensor([True, False])})
    masks.save(tmp_path / 'masks.pth')
    with pytest.raises(ValueError, match='holds no masks'):
        Masks.load(tmp_path / 'channels.pth')
    with pytest.raises(ValueError, match='holds no channels'):
        Channels.load(tmp_path / 'masks.pth')


def changed(packed, where, value):
    entry = dict(packed['channels']['one'])
    if where in entry:
        entry[where] = value
        return dict(packed, channels=dict(packed['channels'], one=entry))
    return dict(packed, **{where: value})


@pytest.mark.parametrize(
    'where, value, words',
    [
        ('version', 2, 'version 2, and this package reads versions up to 1'),
        ('version', None, 'version None'),
        ('shape', [10**12], "'one' is damaged"),
        ('shape', [2, 3], 'one row'),
        ('kept', 5, "'one' is damaged"),
        ('bits', torch.tensor([255], dtype=torch.uint8), "'one' is damaged"),
        ('digest', '0' * 32, 'not those that were packed'),
        ('channels', {}, 'there are none'),
        ('channels', 'one', 'there are none'),
    ],
)
def test_what_is_damaged_or_of_another_version_is_told(
    some, where, value, words
):
    with pytest.raises(ValueError, match=words):
        Channels.unpack(changed(some.pack(), where, value))


def test_a_search_that_is_interrupted_goes_on_with_them(some):
    assert Ledger.unpack(Ledger(2, some).pack()).masks == some


def test_groups_that_are_left_out_keep_every_unit(groups, some):
    part = Channels(dict(one=some['one']))
    assert part.in_all(groups)['body'].all()
    assert torch.equal(part.in_all(groups)['one'], some['one'])
