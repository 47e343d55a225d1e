"""Heads of attention are scored by what they emit: their values."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from epsd_mm.pruning import SNIP, ModuleObjective
from epsd_mm.structure import Channels, UnitScores, find_groups


class Attention(nn.Module):
    """As timm and mmpretrain have it, over the rows of an image."""

    def __init__(self, dim=12, heads=3):
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, gates=None):
        batch, tokens, _ = x.shape
        packed = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        heads = (weights @ v).transpose(1, 2)
        if gates is not None:
            heads = heads * gates[:, None]
        return self.proj(heads.flatten(2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.head = nn.Linear(12, 3)

    def forward(self, x, gates=None):
        return self.head((x + self.attention(x, gates)).mean(1))


def test_a_head_is_scored_by_a_gate_on_what_it_emits():
    torch.manual_seed(0)
    net = Net().double()
    tokens = torch.randn(4, 5, 12, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0])
    groups = find_groups(net, tokens)
    assert [g.units for g in groups.values()] == [3]
    gates = torch.ones(3, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(net(tokens, gates), labels)
    (want,) = torch.autograd.grad(loss, gates)
    scores = UnitScores(SNIP(), groups).scores(
        ModuleObjective(net, lambda m, b: cross_entropy(m(b[0]), b[1])),
        dict(net.named_parameters()),
        Channels.all_of(groups),
        iter([[(tokens, labels)]]),
    )
    (got,) = scores.values()
    assert torch.allclose(got, want.abs(), rtol=1e-9)


def test_a_head_that_goes_takes_queries_and_keys_along():
    net = Net()
    groups = find_groups(net, torch.randn(1, 5, 12))
    (name,) = groups
    kept = torch.tensor([True, False, True])
    masks = Channels({name: kept}).masks(groups, dict(net.named_parameters()))
    rows = kept.repeat_interleave(4).repeat(3)
    assert torch.equal(masks['attention.qkv.weight'].all(1), rows)
    assert torch.equal(masks['attention.qkv.bias'], rows)
    columns = kept.repeat_interleave(4)
    assert torch.equal(masks['attention.proj.weight'].all(0), columns)
