"""How often an entry of a weight multiplies, against a trace's count."""

import torch
from torch import nn

from epsd_mm.analysis.parts import multiply_adds
from epsd_mm.structure.prices import multiplications


class Several(nn.Module):
    """Convolutions of every kind, a head that is used twice, attention."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(6, 4, 3, groups=2)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False)
        self.head = nn.Conv2d(6, 6, 1)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.linear = nn.Linear(6, 5)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = self.up(self.grouped(self.conv(x)))
        x = self.head(x) + self.head(x[..., ::2, ::2]).sum()
        x = x.flatten(2).mT
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.linear(x)


def test_times_the_entries_it_is_the_multiply_adds():
    model = Several().eval()
    images = torch.randn(1, 2, 16, 16)
    got = multiplications(model, lambda: model(images))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    products = {name: times * sizes[name] for name, times in got.items()}
    assert products == multiply_adds(model, images)
    assert got['unused.weight'] == 0


def test_nothing_is_left_on_the_network():
    model = nn.Linear(2, 3)
    hooks = len(model._forward_hooks)
    multiplications(model, lambda: model(torch.ones(4, 2)))
    assert len(model._forward_hooks) == hooks
