"""Widths of students, worked by hand."""

import pytest
import torch
from torch import nn

from epsd_mm.structure import find_groups, student_channels


def first(kept, module):
    """A mask that keeps so many entries of a layer's weight."""
    shape = module.weight.shape
    return (torch.arange(shape.numel()) < kept).view(shape)


def widths(model, image, **kept):
    groups = find_groups(model, image)
    masks = {
        f'{name}.weight': first(count, model.get_submodule(name))
        for name, count in kept.items()
    }
    channels = student_channels(groups, masks)
    assert set(channels) == set(groups)
    return {name: int(row.sum()) for name, row in channels.items()}


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 16, 3, padding=1)
        self.three = nn.Linear(16, 4)

    def forward(self, x):
        x = self.two(self.norm(self.one(x)).relu()).relu()
        return self.three(x.mean(dim=(2, 3)))


IMAGE = torch.rand(1, 3, 8, 8)


@pytest.mark.parametrize(
    'one, two, want',
    [
        # of 216     of 1,152
        (108, 288, (4, 8)),  # 108 / (3 · 9); 288 / (4 · 9)
        (216, 1152, (8, 16)),  # all of them
        (54, 1152, (2, 16)),  # 2; 1152 / 18 = 64, of which there are 16
        (95, 300, (4, 8)),  # 3.52; 300 / 36 = 8.33
        (94, 300, (3, 11)),  # 3.48; 300 / 27 = 11.1
        (1, 1, (1, 1)),  # a layer keeps a channel
        (0, 0, (1, 1)),
    ],
)
def test_a_chain_of_three_layers_by_hand(one, two, want):
    """The last gives the classes: it has 4 · 8 weights at 8 channels."""
    got = widths(Chain(), IMAGE, one=one, two=two, three=17)
    assert (got['one'], got['two']) == want


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.outer(self.inner(x).relu())
        return self.head(x.mean(dim=(2, 3)))


def test_a_residual_stream_and_its_blocks_keep_one_share():
    """216 r + 2 · 576 r² = 96 + 100 + 200 at r = 1/2, of 8 units each."""
    got = widths(Residual(), IMAGE, stem=96, inner=100, outer=200, head=32)
    assert got == dict(stem=4, inner=4)
    everything = dict(stem=216, inner=576, outer=576, head=32)
    assert widths(Residual(), IMAGE, **everything) == dict(stem=8, inner=8)


class Shortcut(nn.Module):
    """A stage whose width its convolution and its shortcut settle."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.inner = nn.Conv2d(4, 8, 1)
        self.outer = nn.Conv2d(8, 16, 1)
        self.short = nn.Conv2d(4, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.outer(self.inner(x).relu()) + self.short(x)
        return self.head(x.mean(dim=(2, 3)))


def test_layers_whose_inputs_are_settled_share_the_word():
    """6 / 3 = 2; 8 / 2 = 4; (20 + 10) / (4 + 2) = 5."""
    got = widths(
        Shortcut(), IMAGE, stem=6, inner=8, outer=20, short=10, head=64
    )
    assert got == dict(stem=2, inner=4, outer=5)


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 1)
        self.apart = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.two = nn.Conv2d(8, 6, 1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(6 * 64, 4)

    def forward(self, x):
        return self.head(self.flat(self.two(self.apart(self.one(x))).relu()))


def test_a_depthwise_layer_goes_with_what_it_reads():
    """(12 + 36) / (3 + 9) = 4; 8 / 4 = 2, of 64 columns of the head each."""
    got = widths(Depthwise(), IMAGE, one=12, apart=36, two=8, head=1000)
    assert got == dict(one=4, two=2)


def test_weights_that_are_not_given_are_named():
    with pytest.raises(ValueError, match="produce 'two': give those of two"):
        widths(Chain(), IMAGE, one=5)
