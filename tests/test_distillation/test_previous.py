"""Predictions of one step ago, by key."""

import pytest
import torch

from epsd_mm.distillation import Observation, Previous


def observe(keys, seed=0, classes=3):
    n = len(keys)
    logits = torch.randn(
        n, classes, generator=torch.Generator().manual_seed(seed)
    )
    return Observation(
        logits.requires_grad_(),
        torch.zeros(n, dtype=torch.long),
        torch.full((n,), 1 / n),
        torch.arange(n),
        keys,
    )


def test_only_the_step_before_counts():
    previous = Previous()
    before, last = observe(['a', 'b']), observe(['c', 'b'], seed=1)
    previous.remember(before)
    previous.remember(last)
    rows, found = previous.recall(observe(['a', 'b', 'c'], seed=2))
    assert found.tolist() == [False, True, True]
    assert torch.equal(rows[1], last.logits[1])
    assert torch.equal(rows[2], last.logits[0])
    assert not rows.requires_grad


def test_nothing_is_found_at_first():
    rows, found = Previous().recall(observe(['a', 'b']))
    assert rows.shape == (2, 3) and not found.any()


def test_half_precision_is_kept_in_float32():
    previous, last = Previous(), observe([1, 2])
    half = Observation(**{**vars(last), 'logits': last.logits.half()})
    previous.remember(half)
    rows, _ = previous.recall(observe([2, 1]))
    assert rows.dtype == torch.float32
    assert torch.equal(rows[0], half.logits[1].float())


def test_it_goes_on_from_its_state(tmp_path):
    previous = Previous()
    previous.remember(observe(['a', ('b', 0)]))
    torch.save(previous.state_dict(), tmp_path / 'state.pth')
    other = Previous()
    other.load_state_dict(torch.load(tmp_path / 'state.pth'))
    asked = observe([('b', 0), 'c'])
    for got, want in zip(other.recall(asked), previous.recall(asked)):
        assert torch.equal(got, want)


def test_objects_of_another_stage_are_others():
    previous, last = Previous(), observe([('a', 0, 0), ('a', 0, 1)])
    previous.remember(last)
    asked = observe([('a', 0, 1), ('a', 1, 1), ('b', 0, 0)])
    rows, found = previous.recall(asked)
    assert found.tolist() == [True, False, False]
    assert torch.equal(rows[0], last.logits[1])


def test_samples_without_a_key_are_refused():
    asked = Observation(**{**vars(observe(['a'])), 'keys': None})
    with pytest.raises(TypeError, match='meta_keys'):
        Previous().recall(asked)
