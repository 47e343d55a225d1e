"""Networks are compared before one takes the other's place."""

import copy

import pytest
import torch
from torch import nn

from epsd_mm.compaction import compare, shrink
from epsd_mm.structure import Channels, find_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)
    )


def call(model):
    return model(torch.linspace(-1, 1, 8).reshape(2, 4))


@pytest.fixture
def pair():
    """With the first two units zero, and without them."""
    zeros = network()
    zeros[0].weight.data[:2] = zeros[0].bias.data[:2] = 0
    narrow = copy.deepcopy(zeros)
    groups = find_groups(narrow, torch.rand(1, 4))
    kept = torch.tensor([False, False, True, True, True, True])
    shrink(narrow, groups, Channels({'0': kept}))
    return zeros, narrow


def test_dropout_on_narrower_features_is_named(pair):
    compared = compare(*pair, call)
    assert compared.difference < 1e-6
    assert compared.dropouts == ['2']
    assert all(model.training for model in pair)


def test_dropout_on_features_of_the_same_width_is_not_named():
    assert compare(network(), network(), call).dropouts == []


def test_networks_that_differ_are_refused(pair):
    zeros, narrow = pair
    zeros[0].bias.data[0] = 1
    with pytest.raises(ValueError, match='nothing was written'):
        compare(zeros, narrow, call)
    narrow[3].bias.data.fill_(float('nan'))
    with pytest.raises(ValueError, match='nothing was written'):
        compare(zeros, narrow, call)
