"""What the demo measures is what it says it measures."""

import numpy as np
import pytest
import torch


@pytest.fixture
def demo(tool):
    return tool('demo')


def unpack(packed):
    state = {}
    for name, value in packed.items():
        if isinstance(value, tuple):
            shape, bits, kept = value
            mask = np.unpackbits(bits.numpy(), count=shape.numel())
            full = torch.zeros(shape)
            full[torch.from_numpy(mask).bool().view(shape)] = kept
            value = full
        state[name] = value
    return state


def test_packing_loses_nothing_and_saves_what_is_zero(demo):
    state = dict(
        sparse=torch.randn(64, 33, 3, 3),
        dense=torch.randn(100),
        n=torch.tensor(3),
    )
    state['sparse'][torch.rand(state['sparse'].shape) < 0.9] = 0
    packed = demo.pack_zeros(state)
    again = unpack(packed)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert isinstance(packed['dense'], torch.Tensor)
    # A bit for each weight and four bytes for a tenth of them.
    ratio = demo.saved_bytes(packed) / demo.saved_bytes(state)
    assert 0.12 < ratio < 0.2


def test_table_names_both_columns(demo):
    dense = dict(
        mAP50=0.81,
        kept=1000,
        total=1000,
        flops=5e8,
        kept_flops=5e8,
        weight_bytes=4000,
        packed_bytes=4000,
        epoch_seconds=20.0,
    )
    pruned = dict(
        dense, kept=100, kept_flops=8e7, packed_bytes=600, scoring_seconds=9.5
    )
    lines = demo.result_table(dense, pruned).splitlines()
    cells = [[c.strip() for c in t.split('│')[1:-1]] for t in lines]
    assert ['mAP50 on the test images', '0.810', '0.810'] in cells
    assert ['convolution and linear weights kept', '1,000', '100'] in cells
    assert ['of all', '100.0%', '10.0%'] in cells
    assert ['seconds of scoring, once', '0.0', '9.5'] in cells
