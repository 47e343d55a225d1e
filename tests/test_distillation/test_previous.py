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


def test_each_process_has_its_own_rows_again(tmp_path):
    """Though both have seen `b`; other numbers of processes have all rows."""
    seen = [observe(['a', 'b']), observe(['b', 'c', 'd'], seed=1)]
    teachers = [Previous(), Previous()]
    for teacher, observation in zip(teachers, seen):
        teacher.remember(observation)
    teachers[0].merge([teacher.news() for teacher in teachers])
    torch.save(teachers[0].state_dict(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    ask = observe(list('abcd'), seed=2)
    for rank in (0, 1):
        again = Previous()
        again.load_state_dict(state, rank, 2)
        for got, want in zip(again.recall(ask), teachers[rank].recall(ask)):
            assert torch.equal(got, want)
    alone = Previous()
    alone.load_state_dict(state)
    rows, found = alone.recall(ask)
    assert found.all()
    assert torch.equal(rows[0], seen[0].logits[0])
    assert torch.equal(rows[1:], seen[1].logits)


def test_what_others_saw_is_saved_and_not_recalled():
    own, other = Previous(), Previous()
    own.remember(observe(['a']))
    other.remember(observe(['b']))
    own.merge([own.news(), other.news()])
    assert own.recall(observe(['a', 'b']))[1].tolist() == [True, False]
    assert len(own.state_dict()['keys']) == 2
    own.remember(observe(['c']))
    assert len(own.state_dict()['keys']) == 1


def test_states_of_older_checkpoints_are_read():
    state = dict(keys=[('a', 0), ('b', 1)], logits=torch.eye(2))
    previous = Previous()
    previous.load_state_dict(state, 1, 2)
    rows, found = previous.recall(observe(['b', 'a'], classes=2))
    assert found.all() and torch.equal(rows, torch.eye(2)[[1, 0]])
