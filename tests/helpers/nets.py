"""Small plain modules for tests, and their loss."""

import torch
from torch import nn


class Net(nn.Module):
    """Convolutions of two-channel pictures, normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.3)
        self.body = nn.Conv2d(6, 5, 3, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.drop(self.norm(self.stem(x)).relu())
        return self.head(self.body(x).relu().mean(dim=(2, 3)))


class Tied(nn.Module):
    """One weight in two layers, for vectors of four."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.two(self.one(x).tanh()).tanh())


class ConvNeXt(nn.Module):
    """A block with depthwise convolution, layer norm and layer scale."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 2, stride=2)
        self.depthwise = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels
        )
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 0.1))
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        x = self.stem(x)
        branch = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        branch = self.narrow(nn.functional.gelu(self.widen(branch)))
        x = x + (self.gamma * branch).permute(0, 3, 1, 2)
        return self.head(x.mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """A wide depthwise convolution between two narrow layers."""

    def __init__(self, channels=3, width=12):
        super().__init__()
        self.widen = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(
            width, width, 3, padding=1, groups=width, bias=False
        )
        self.norm2 = nn.BatchNorm2d(width)
        self.narrow = nn.Conv2d(width, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        branch = nn.functional.relu6(self.norm1(self.widen(x)))
        branch = nn.functional.relu6(self.norm2(self.depthwise(branch)))
        x = x + self.norm3(self.narrow(branch))
        return self.head(x.mean(dim=(2, 3)))


def cross_entropy(model, batch):
    """Of a batch of inputs and labels."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
