"""The values: positions that stand or fall together."""

import pytest
import torch
from torch import nn

from epsd_mm.structure import Group, Groups, Member


def member(name='conv.weight', axis=0, role='producer', index=((0,), (1,))):
    return Member(name, axis, role, torch.tensor(index))


def test_a_group_prints_its_units_channels_and_layers():
    group = Group(
        'conv',
        2,
        (
            member(index=((0, 1), (2, 3))),
            member('conv.bias', index=((0, 1), (2, 3))),
            member('norm.weight', role='norm', index=((0, 1), (2, 3))),
            member('next.weight', 1, 'consumer', ((0, 1), (2, 3))),
        ),
    )
    assert str(group) == (
        'conv: 2 units of 2 channels\n'
        '  produced by conv\n'
        '  scaled by norm\n'
        '  read by next'
    )


def test_what_stays_whole_is_printed_with_its_reason():
    groups = Groups([], {'a': 'outputs', 'b': 'outputs', 'c': 'inputs'})
    assert str(groups) == 'whole, outputs: a, b\nwhole, inputs: c'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(role='producers'), "'producers'"),
        (dict(index=((0,), (0,))), 'twice'),
        (dict(index=((-1,), (0,))), 'negative'),
        (dict(index=(0, 1)), 'shape'),
        (dict(index=((0.0,), (1.0,))), 'float32'),
    ],
)
def test_a_member_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        member(**change)


def test_members_of_a_group_have_its_units():
    with pytest.raises(ValueError, match=r"'conv.weight' has 2 units .* 3"):
        Group('conv', 3, (member(),))


def test_no_position_is_of_two_units():
    one = Group('a', 2, (member(),))
    with pytest.raises(
        ValueError, match="position 1 of axis 0 of 'conv.weight'"
    ):
        Groups([one, Group('b', 1, (member(index=((1,),)),))])
    other_axis = Group('b', 2, (member(axis=1, role='consumer'),))
    assert list(Groups([one, other_axis])) == ['a', 'b']
    with pytest.raises(ValueError, match="the name 'a'"):
        Groups([one, one])


@pytest.mark.parametrize(
    ('layer', 'said'),
    [
        (nn.Conv2d(3, 1, 1), r'conv.weight .* has 1 positions on axis 0, not'),
        (nn.BatchNorm1d(4), r'conv.weight .* has the shape \(4,\)'),
        (nn.ReLU(), 'conv.weight .* is not there.*find its groups anew'),
    ],
)
def test_groups_of_another_model_are_refused(layer, said):
    groups = Groups([Group('conv', 2, (member(axis=layer_axis(layer)),))])
    groups.check_model(named(nn.Conv2d(3, 2, 1)))
    with pytest.raises(ValueError, match=said):
        groups.check_model(named(layer))


def named(layer):
    return nn.ModuleDict({'conv': layer})


def layer_axis(layer):
    return 1 if isinstance(layer, nn.BatchNorm1d) else 0
