"""Equal values have equal digests, and no others."""

import functools

import numpy as np
import pytest
import torch

from epsd_mm.digest import digest

DISTINCT = [
    None,
    '',
    'a',
    b'a',
    1,
    1.0,
    True,
    [1, 2],
    [12],
    [[1], 2],
    [[1, 2]],
    ['a', 'b'],
    ['ab'],
    dict(a=1, b=2),
    dict(b=1, a=2),
    ['a', 1, 'b', 2],
    torch.tensor([1.0, 2.0]),
    torch.tensor([[1.0, 2.0]]),
    torch.tensor([1.0, 2.0], dtype=torch.float64),
    torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    torch.tensor([1, 0], dtype=torch.uint8),
    torch.tensor([True, False]),
    torch.tensor(1.0),
    torch.zeros(0),
    torch.zeros(0, 2),
    np.array([1.0, 2.0]),
]


def test_distinct_values_have_distinct_digests():
    assert len({digest(value) for value in DISTINCT}) == len(DISTINCT)


@pytest.mark.parametrize(
    'change',
    [
        lambda t: t.view(torch.int32).bitwise_xor_(1),
        lambda t: t.neg_(),
        lambda t: t.transpose_(0, 1),
    ],
    ids=['one bit', 'sign', 'order'],
)
def test_any_change_of_a_weight_counts(change):
    weights = torch.rand(3, 3)
    before = digest(dict(w=weights))
    change(weights)
    assert digest(dict(w=weights)) != before


def test_the_layout_in_memory_does_not_count():
    pictures = torch.rand(2, 3, 4, 5)
    other = pictures.to(memory_format=torch.channels_last)
    assert digest(pictures) == digest(other)


def test_the_address_of_an_object_does_not_count():
    one = functools.partial(lambda: 1)
    two = functools.partial(lambda: 1)
    assert repr(one) != repr(two)
    assert digest(one) == digest(two)
