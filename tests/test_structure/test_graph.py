"""Groups of plain networks: what is coupled, and what stays whole."""

import copy
import random
import sys

import numpy as np
import pytest
import torch
from mmcv.ops import DeformConv2d
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from epsd_mm.structure import find_groups

from ..helpers.layers import ScaledStdConv2d
from ..helpers.narrowing import liven, random_units, with_zeros, without
from ..helpers.nets import Tied


class Residual(nn.Module):
    """A sum, a concatenation, a depthwise and a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(16, 12, 1)
        self.act = nn.PReLU(12)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.head = nn.Linear(6 * 4, 5)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.branch(x)
        x = torch.cat([x, self.depthwise(x)], dim=1)
        x = self.grouped(self.act(self.pointwise(x)))
        x = F.adaptive_avg_pool2d(self.up(x).relu(), 2)
        return self.head(x.flatten(1))


class Chunked(nn.Module):
    """Thirds of one convolution that go different ways."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3)
        self.one = nn.Conv2d(4, 5, 1)
        self.two = nn.Conv2d(4, 5, 1)

    def forward(self, x):
        one, _, two = self.stem(x).relu().chunk(3, dim=1)
        return self.two(two) + self.one(one)


class Shared(nn.Module):
    """Parts that are read more often than there are parts."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.one = nn.Conv2d(4, 6, 1)
        self.two = nn.Conv2d(4, 6, 1)
        self.last = nn.Conv2d(8, 5, 1)
        self.other = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        one, two = self.stem(x).relu().chunk(2, dim=1)
        x = self.two(two) + self.one(two) + self.one(one)
        return self.other(x) + self.last(torch.cat([two * 2, one.relu()], 1))


class Gated(nn.Module):
    """A unit is squeezed, excited, and multiplied with its gate."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.squeeze = nn.Linear(8, 4)
        self.excite = nn.Linear(4, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return self.head((x * gate[..., None, None]).mean((2, 3)))


class Recurrent(nn.Module):
    """One layer called three times."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = self.again(x.relu())
        return self.head(x)


def picture():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 8, 8, generator=generator)


class Halved(nn.Module):
    """Slices that are halves, one of them read twice and joined again."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.one = nn.Conv2d(4, 4, 1)
        self.two = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        half = x.shape[1] // 2
        one, two = x[:, :half], x[:, half:]
        x = self.one(one) + self.two(one)
        return self.last(torch.cat([two, x, one], dim=1))


class Unread(nn.Module):
    """Calls a layer and reads nothing of it, as some backbones do."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.unread = nn.Conv2d(8, 6, 1)
        self.after = nn.Conv2d(6, 6, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        self.after(self.unread(x))
        return self.last(x)


class Sequence(nn.Module):
    """Joins positions of two maps in one sequence, as some pyramids do."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 3)
        self.coarse = nn.Conv2d(3, 6, 3, stride=2)
        self.token = nn.Linear(6, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        maps = [self.fine(x).relu(), self.coarse(x).relu()]
        rows = [each.flatten(2).transpose(1, 2) for each in maps]
        tokens = [self.token(row) for row in rows]
        return self.last(torch.cat(tokens, dim=1).relu().mean(1))


NETS = [Residual, Chunked, Halved, Shared, Sequence, Gated]
NETS += [Unread, Recurrent]


@pytest.mark.parametrize('build', NETS)
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_a_network_without_units_returns_what_zeros_return(build, training):
    net = liven(build())
    groups = find_groups(net, picture())
    net.double().train(training)
    removed = random_units(groups)
    zeros = with_zeros(net, groups, removed)(picture().double())
    cut = without(net, groups, removed)(picture().double())
    assert (zeros - cut).abs().max() < 1e-9
    assert (zeros - net(picture().double())).abs().max() > 1e-2


def test_sums_concatenations_and_groups_of_convolutions_couple_channels():
    assert str(find_groups(Residual(), picture())) == (
        'stem: 8 units\n'
        '  produced by stem, branch, depthwise\n'
        '  scaled by norm\n'
        '  read by branch, pointwise\n'
        'pointwise: 3 units of 4 channels\n'
        '  produced by pointwise, grouped\n'
        '  read by act, up\n'
        'up: 6 units\n'
        '  produced by up\n'
        '  read by head\n'
        'whole, its outputs are those of the network: head'
    )


def test_flattened_features_are_read_by_as_many_columns_as_they_have():
    groups = find_groups(Residual(), picture())
    (columns,) = (m for m in groups['up'].members if m.layer == 'head')
    assert columns.axis == 1
    assert columns.index.tolist() == [
        [*range(4 * unit, 4 * unit + 4)] for unit in range(6)
    ]


def test_parts_that_must_be_of_equal_size_go_together():
    groups = find_groups(Chunked(), picture())
    assert list(groups) == ['stem']
    weight, *_ = groups['stem'].members
    assert weight.index.tolist() == [[u, u + 4, u + 8] for u in range(4)]


def test_slices_that_are_equal_parts_go_together():
    groups = find_groups(Halved(), picture())
    assert (groups['stem'].units, groups['stem'].channels) == (4, 2)
    assert groups['one'].layers('consumer') == ['last']


def test_layers_that_nothing_reads_become_narrower_with_what_they_read():
    groups = find_groups(Unread(), picture())
    assert groups['stem'].layers('consumer') == ['unread', 'last']
    assert groups['unread'].layers('consumer') == ['after']
    assert groups.whole.keys() == {'after', 'last'}


def test_parts_of_a_fixed_size_stay_whole():
    net = Chunked()
    net.forward = lambda x: net.two(net.stem(x)[:, 3:7])
    groups = find_groups(net, picture())
    assert not groups
    assert 'stem' in groups.whole


class Looking(nn.Module):
    """Looks twice at the same features, in two ways that it computes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 24, 3, padding=1)
        self.offsets = nn.Conv2d(24, 36, 1)
        self.looks = DeformConv2d(24, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.features(x).relu()
        first, second = (o * 1 for o in self.offsets(x).chunk(2, 1))
        x = self.looks(x, first) + self.looks(x, offset=second)
        return self.last(x.relu())


def test_where_to_look_is_no_feature_of_deformable_convolutions():
    groups = find_groups(Looking(), picture())
    assert {n: g.units for n, g in groups.items()} == dict(
        features=24, looks=8
    )
    assert groups['features'].layers('consumer') == ['offsets', 'looks']


class Auxiliary(nn.Module):
    """Has a head that only training calls."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.body = nn.Conv2d(8, 6, 3)
        self.auxiliary = nn.Sequential(
            nn.Conv2d(8, 6, 1), nn.Dropout(0.5), nn.BatchNorm2d(6)
        )
        self.last = nn.Conv2d(6, 5, 1)
        self.other = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        outputs = self.last(self.body(x).relu())
        if self.training:
            return outputs, self.other(self.auxiliary(x).relu())
        return outputs


def test_branches_of_training_are_followed():
    net = liven(Auxiliary()).train()
    statistics = copy.deepcopy(dict(net.named_buffers()))
    groups = find_groups(net, picture())
    assert list(groups) == ['stem', 'body', 'auxiliary.0']
    assert groups['stem'].layers('consumer') == ['body', 'auxiliary.0']
    assert groups.whole.keys() == {'last', 'other'}
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, statistics[name])
    assert all(module.training for module in net.modules())
    net.double().auxiliary[1].p = 0
    removed = random_units(groups)
    zeros = with_zeros(net, groups, removed)(picture().double())
    cut = without(net, groups, removed)(picture().double())
    for one, other in zip(zeros, cut):
        assert (one - other).abs().max() < 1e-9


class Shuffled(nn.Module):
    """Mixes the channels of two branches, as ShuffleNet does."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.inner = nn.Conv2d(4, 6, 1)
        self.branch = nn.Conv2d(6, 4, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        one, two = self.stem(x).relu().chunk(2, dim=1)
        x = torch.cat([one, self.branch(self.inner(two).relu())], dim=1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.last(x.reshape(batch, -1, height, width))


def test_channels_that_are_shuffled_stay_whole_and_others_go():
    groups = find_groups(liven(Shuffled()), picture())
    assert list(groups) == ['inner']
    assert groups.whole.keys() == {'stem', 'branch', 'last'}


def test_weights_that_layers_share_go_together():
    net = Tied()
    groups = find_groups(net, torch.randn(2, 4))
    # What the layer emits it reads again: its inputs are the network's.
    assert not groups.keys() - {'one'}


def test_whether_a_norm_follows_is_told_of_producers():
    groups = find_groups(Residual(), picture())
    assert {
        member.name: member.normalised
        for member in groups['stem'].members
        if member.role == 'producer'
    } == {
        'stem.weight': True,
        'stem.bias': True,
        'branch.weight': False,
        'branch.bias': False,
        'depthwise.weight': False,
        'depthwise.bias': False,
    }


class Whole(nn.Module):
    def __init__(self, between, reads=8):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.between = between
        self.last = nn.Linear(reads, 2)

    def forward(self, x):
        return self.last(self.between(self.first(x)))


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


@pytest.mark.parametrize(
    ('net', 'reason'),
    [
        (Whole(nn.LayerNorm(8)), 'LayerNorm normalises'),
        (Whole(nn.BatchNorm1d(8, affine=False)), 'no scale'),
        (Whole(Lambda(lambda x: x - x.mean(1, keepdim=True))), 'zero still'),
        (Whole(Lambda(lambda x: x.softmax(1))), 'zero still'),
        (Whole(Lambda(lambda x: x.view(-1, 8) * 2)), 'cannot be called'),
        (Whole(Lambda(lambda x: x.sum(1, keepdim=True)), 1), 'loses'),
        (Whole(Lambda(lambda x: x.flip(1))), ''),
    ],
)
def test_what_would_change_without_a_unit_stays_whole(net, reason):
    groups = find_groups(net, torch.randn(3, 8))
    if not reason:  # in the other order, which the graph does not see
        reason = 'zero still'
    assert not groups
    assert reason in groups.whole['first']
    assert groups.whole['last'] == 'its outputs are those of the network'


def test_what_is_read_by_standardised_weights_stays_whole():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), ScaledStdConv2d(8, 6, 3), nn.ReLU()
    )
    net.append(nn.Conv2d(6, 2, 1))
    groups = find_groups(net, picture())
    assert list(groups) == []
    assert 'ScaledStdConv2d changes its weights by' in groups.whole['0']


def test_numbers_drawn_by_a_pass_are_no_difference():
    net = Whole(Lambda(lambda x: x * torch.rand(())))
    assert list(find_groups(net, torch.randn(3, 8))) == ['first']


def test_one_that_cannot_be_cut_does_not_keep_others_whole():
    net = nn.Sequential(
        nn.Linear(8, 8), nn.Linear(8, 8), nn.Softmax(1), nn.Linear(8, 2)
    )
    groups = find_groups(net, torch.randn(3, 8))
    assert list(groups) == ['0']
    assert 'zero still' in groups.whole['1']


def test_one_that_cannot_be_cut_is_found_where_it_fails():
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(40)]
    blocks[20][1] = Lambda(lambda x: x.view(-1, 8) * 2)
    calls = []

    def trace(net, example):
        calls.append(1)
        return net(example)

    net = nn.Sequential(*blocks, nn.Linear(8, 2))
    groups = find_groups(net, torch.randn(3, 8), trace)
    assert groups.whole.keys() == {'20.0', '40'}
    assert len(calls) < 10  # of halving, 17


def test_a_function_of_its_own_calls_the_network_and_says_what_it_returns():
    net = Whole(nn.ReLU())
    groups = find_groups(
        net,
        dict(x=torch.randn(3, 8)),
        lambda net, example: net.first(example['x']),
    )
    assert not groups
    assert groups.whole == {
        'first': 'its outputs are those of the network',
        'last': 'the graph sees no call of it',
    }


def test_the_model_is_left_as_it_was():
    net = Residual().train()
    net.norm.eval()
    net.stem.weight.requires_grad_(False)
    net.branch.weight.grad = torch.ones_like(net.branch.weight)
    tensors = {**net.state_dict(keep_vars=True)}
    values = {name: tensor.clone() for name, tensor in tensors.items()}
    modes = [module.training for module in net.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()

    find_groups(net, picture())

    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2][1])
    assert [module.training for module in net.modules()] == modes
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert tensor is tensors[name]
        assert torch.equal(tensor, values[name])
        assert tensor.requires_grad == (
            isinstance(tensor, nn.Parameter) and name != 'stem.weight'
        )
    assert net.branch.weight.grad.eq(1).all()
    assert net.grouped.groups == 3
    assert not any(module._forward_hooks for module in net.modules())


def test_buffers_that_a_pass_counts_in_or_replaces_are_left_as_they_were():
    class Counting(Whole):
        def __init__(self):
            super().__init__(nn.ReLU())
            self.register_buffer('counted', torch.zeros(1))
            self.register_buffer('replaced', torch.zeros(1))

        def forward(self, x):
            self.counted += 1
            self.replaced = self.replaced + 1
            return super().forward(x)

    net = Counting()
    assert list(find_groups(net, torch.randn(3, 8))) == ['first']
    assert (net.counted, net.replaced) == (0, 0)


def test_layers_hidden_by_a_reentrant_checkpoint_stay_whole():
    class Checkpointed(Whole):
        def forward(self, x):
            x = self.first(x)
            x = checkpoint(self.between, x, use_reentrant=True)
            return self.last(x)

    hidden = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    groups = find_groups(Checkpointed(hidden), torch.randn(3, 8))
    assert not groups
    assert 'no call' in groups.whole['between.0']


def test_frozen_layers_are_followed_too():
    net = Residual().requires_grad_(False)
    assert list(find_groups(net, picture())) == ['stem', 'pointwise', 'up']
    assert not any(param.requires_grad for param in net.parameters())


def test_a_network_that_fails_is_left_as_it_was():
    net = Whole(Lambda(lambda x: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        find_groups(net, torch.randn(3, 8))
    assert net.training and net.first.training
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    'hides',
    [torch.no_grad(), torch.inference_mode()],
    ids=['no_grad', 'inference_mode'],
)
def test_a_network_without_gradients_is_refused_in_one_sentence(hides):
    class Hidden(Whole):
        @hides
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ValueError, match='Hidden cannot be traced: none of'):
        find_groups(Hidden(nn.ReLU()), torch.randn(3, 8))


def test_without_torch_pruning_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ImportError, match=r'pip install "\.\[structure\]"'):
        find_groups(Residual(), picture())
