"""Widths that modules write down change with their layers."""

import copy

import torch
from torch import nn

from epsd_mm.compaction import shrink
from epsd_mm.structure import Channels, Width, find_groups

from ..helpers.narrowing import liven, random_units, with_zeros


class Stated(nn.Module):
    """Splits by a width that is an attribute, as Res2Net does."""

    def __init__(self):
        super().__init__()
        self.width = self.num_classes = 4
        self.first = nn.Conv2d(3, 12, 1)
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        first, second, third = self.first(x).relu().split(self.width, 1)
        second = self.one(first) + second
        third = self.two(second) + third
        x = torch.cat([third, torch.cat([first, second], 1)], 1)
        return self.last(x)


class Attending(nn.Module):
    """Views what several layers emit by one width, as non-local blocks do."""

    def __init__(self):
        super().__init__()
        self.inner = 6
        self.value = nn.Conv2d(3, 6, 1)
        self.query = nn.Conv2d(3, 6, 1)
        self.key = nn.Conv2d(3, 6, 1)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        parts = [
            layer(x).view(len(x), self.inner, -1)
            for layer in (self.query, self.key, self.value)
        ]
        weights = parts[0].transpose(1, 2) @ parts[1]
        found = (parts[2] @ weights).view(len(x), self.inner, *x.shape[2:])
        return self.last(found)


def check_cut(model, groups):
    """Without random units, it returns what it does with zeros."""
    model = liven(model).double()
    removed = random_units(groups)
    zeros = with_zeros(model, groups, removed)
    narrow = copy.deepcopy(zeros)
    kept = dict(Channels.all_of(groups))
    for name, units in removed.items():
        kept[name] = kept[name].clone()
        kept[name][units] = False
    shrink(narrow, groups, Channels(kept))
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(zeros(images), narrow(images), 1e-9, 1e-9)
    return narrow


def test_a_width_that_is_an_attribute_becomes_smaller():
    model = Stated()
    groups = find_groups(model, torch.randn(1, 3, 8, 8))
    assert [(g.units, g.channels) for g in groups.values()] == [(4, 3)]
    assert 'last' in groups.whole
    assert model.width == 4
    narrow = check_cut(model, groups)
    assert narrow.width == narrow.one.out_channels < 4


def test_what_equals_a_width_by_chance_stays():
    groups = find_groups(Stated(), torch.randn(1, 3, 8, 8))
    assert list(groups.attributes) == ['width']


def test_groups_whose_widths_are_one_number_are_one():
    groups = find_groups(Attending(), torch.randn(1, 3, 8, 8))
    (group,) = groups.values()
    assert group.layers('producer') == ['value', 'query', 'key']
    assert groups.attributes['inner'] == Width('value.weight', 0)
    assert check_cut(Attending(), groups).inner < 6
