"""Networks are compared before one takes the other's place."""

import copy

import pytest
import torch
from torch import nn

from epsd_mm.compaction import check_training, compare, shrink
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
    with pytest.raises(ValueError, match='single weights; nothing was wri'):
        compare(zeros, narrow, call)
    narrow[3].bias.data.fill_(float('nan'))
    with pytest.raises(ValueError, match='nothing was written'):
        compare(zeros, narrow, call)


class Auxiliary(nn.Module):
    """Has a layer that only training uses, with targets."""

    def __init__(self):
        super().__init__()
        self.body = network()
        self.only_trained = nn.Linear(6, 3)

    def forward(self, x, targets=None):
        outputs = self.body(x)
        if targets is not None:
            outputs = outputs + self.only_trained(self.body[0](x)) - targets
        return outputs


def training_call(model):
    return model(torch.linspace(-1, 1, 8).reshape(2, 4), torch.zeros(2, 3))


def test_a_layer_that_only_training_uses_is_told_of():
    zeros = Auxiliary().eval()
    zeros.body[0].weight.data[:2] = zeros.body[0].bias.data[:2] = 0
    narrow = copy.deepcopy(zeros)
    check_training(zeros, narrow, training_call)
    groups = find_groups(narrow, torch.rand(1, 4))
    shrink(narrow, groups, Channels({'body.0': torch.arange(6) > 1}))
    compare(zeros, narrow, call)
    with pytest.raises(ValueError, match='only training uses .*exclude='):
        check_training(zeros, narrow, training_call)
    assert not zeros.training and not narrow.body.training


def test_a_network_that_cannot_be_trained_anyway_tells_so_itself():
    def fails(model):
        raise KeyError('no labels')

    with pytest.raises(KeyError, match='no labels'):
        check_training(network(), network(), fails)
