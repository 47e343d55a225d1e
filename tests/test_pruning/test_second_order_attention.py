"""Attention is differentiated twice, whatever kernel training uses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from epsd_mm.pruning import ModuleObjective
from epsd_mm.pruning.gradients import (
    hessian_product,
    record_gradient,
    record_graph,
)
from epsd_mm.pruning.second_order import SecondOrderError
from tests.helpers.oracles import call, flat, hessian_of

FUSED = 'ScaledDotProduct'


def kernel(query, key, value, **kwargs):
    return F.scaled_dot_product_attention(query, key, value, **kwargs)


def written_out(query, key, value, attn_mask=None, is_causal=False):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if is_causal:
        size = scores.shape[-1]
        future = torch.ones(size, size).triu(1).bool()
        scores = scores.masked_fill(future, -torch.inf)
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, dim=-1) @ value


class Attention(nn.Module):
    """Two heads over tokens of four channels, in the style of timm."""

    def __init__(self, **options):
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.attend = kernel
        self.options = options

    def forward(self, x):
        images, tokens, _ = x.shape
        parts = self.qkv(x).reshape(images, tokens, 3, 2, 2)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heads = self.attend(query, key, value, **self.options)
        return heads.transpose(1, 2).reshape(images, tokens, 4)


def squares(model, batch):
    return model(batch).pow(2).sum()


def product_of(model, batch, vector, loss=squares):
    params = dict(model.named_parameters())
    objective = ModuleObjective(model, loss)
    _, _, steps = record_gradient(objective, params, [batch])
    return hessian_product(objective, params, steps, vector)


def like(model):
    return {n: torch.randn_like(p) for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(is_causal=True),
        dict(attn_mask=torch.linspace(-2, 2, 9).view(3, 3).double()),
    ],
    ids=['plain', 'causal', 'mask'],
)
def test_a_hessian_product_is_the_hessian_of_the_formula(options):
    model = Attention(**options).double()
    batch, vector = torch.randn(2, 3, 4).double(), like(model)
    got = product_of(model, batch, vector)
    model.attend = written_out
    names = list(vector)
    hessian = hessian_of(
        lambda theta: call(model, theta, batch).pow(2).sum(),
        dict(model.named_parameters()),
        names,
    )
    want = hessian @ flat(vector)
    assert want.norm() > 0.1
    assert torch.allclose(
        flat({n: got[n] for n in names}), want, rtol=1e-9, atol=1e-12
    )


def test_torchs_own_multi_head_attention_is_scored():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    model, batch = Block().double(), torch.randn(2, 3, 4).double()
    vector = like(model)
    fused = product_of(model, batch, vector)
    # With weights asked for, torch writes the formula out itself.
    model.forward = lambda x: model.attention(x, x, x)[0]
    plain = product_of(model, batch, vector)
    assert fused.keys() == plain.keys() == vector.keys()
    for name, tensor in plain.items():
        assert torch.allclose(fused[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('dropout', [0.0, 0.4])
def test_a_replay_is_the_recorded_loss_to_the_bit(dropout):
    """Kernels differ by rounding, which a replay does not forgive."""
    model = Attention(dropout_p=dropout)
    # About every second of these differs between two kernels.
    batches = list(torch.randn(10, 4, 16, 4))
    params = dict(model.named_parameters())
    objective = ModuleObjective(model, squares)
    _, _, steps = record_gradient(objective, params, batches)
    product = hessian_product(objective, params, steps, like(model))
    assert product.keys() == params.keys()


def test_checkpointed_attention_is_scored():
    """What is checkpointed runs again in the backward pass."""

    def loss(model, batch):
        x = checkpoint(model, batch, use_reentrant=False)
        return x.pow(2).sum()

    model, batch = Attention().double(), torch.randn(2, 3, 4).double()
    vector = like(model)
    want = product_of(model, batch, vector)
    assert_same(product_of(model, batch, vector, loss), want)
    params = dict(model.named_parameters())
    objective = ModuleObjective(model, loss)
    _, _, graph = record_graph(objective, params, [batch])
    assert_same(graph.product(vector), want)


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.allclose(got[name], tensor, rtol=1e-9, atol=1e-12)


def kernels_in(loss):
    names, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        names.add(node.name())
        stack += [n for n, _ in node.next_functions if n is not None]
    return {name for name in names if name.startswith(FUSED)}


def test_training_keeps_its_kernel():
    """Scoring must not slow down what comes after it."""
    model, batch = Attention(), torch.randn(2, 3, 4)
    before = kernels_in(squares(model, batch))
    seen = []

    def loss(model, batch):
        value = squares(model, batch)
        seen.append(kernels_in(value))
        return value

    product_of(model, batch, like(model), loss)
    assert seen == [set(), set()]
    assert kernels_in(squares(model, batch)) == before

    def failing(model, batch):
        raise KeyError('any')

    with pytest.raises(KeyError):
        product_of(model, batch, like(model), failing)
    assert kernels_in(squares(model, batch)) == before


def test_a_model_that_insists_on_a_fused_kernel_is_refused():
    model, batch = Attention(), torch.randn(2, 3, 4)

    def loss(model, batch):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return squares(model, batch)

    try:
        assert kernels_in(loss(model, batch))
    except RuntimeError:
        pytest.skip('this build of torch has no fused kernel')
    with pytest.raises(SecondOrderError, match='FlashAttention'):
        product_of(model, batch, like(model), loss)
