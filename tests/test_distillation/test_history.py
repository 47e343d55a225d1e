"""Predictions are remembered by sample, small and within a known error."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsd_mm.distillation import History, Observation


def observe(keys, logits, labels=None):
    n = len(keys)
    if labels is None:
        labels = torch.zeros(n, dtype=torch.long)
    return Observation(
        logits, labels, torch.full((n,), 1 / n), torch.arange(n), keys
    )


def logits(n, classes=5, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=generator)


def test_what_was_remembered_is_recalled_by_key():
    history = History()
    first = logits(4)
    history.remember(observe(['a', 'b', 'c', 'd'], first))
    rows, found = history.recall(observe(['d', 'x', 'a'], logits(3, seed=1)))
    assert found.tolist() == [True, False, True]
    want = torch.softmax(first, dim=1)
    assert torch.allclose(rows[0], want[3], atol=1e-3)
    assert torch.allclose(rows[2], want[0], atol=1e-3)
    assert len(history) == 4


def test_the_last_prediction_replaces_the_one_before():
    history = History()
    for seed in range(3):
        latest = logits(2, seed=seed)
        history.remember(observe([7, 'seven'], latest))
    rows, _ = history.recall(observe([7, 'seven'], logits(2)))
    assert torch.allclose(rows, torch.softmax(latest, dim=1), atol=1e-3)
    assert len(history) == 2


def test_a_sample_twice_in_a_batch_keeps_its_last_prediction():
    history, both = History(top_k=2), logits(2)
    history.remember(observe(['a', 'a'], both))
    rows, _ = history.recall(observe(['a'], logits(1)))
    assert rows.argmax() == both[1].argmax() and len(history) == 1


def test_nothing_is_found_before_anything_was_remembered():
    rows, found = History().recall(observe(['a'], logits(1)))
    assert rows.shape == (1, 5) and not found.any()


def test_many_samples_in_any_order():
    history = History(top_k=3)
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    table = logits(10_000, classes=8)
    for part in order.split(999):
        history.remember(observe(part.tolist(), table[part]))
    part = order[::7]
    rows, found = history.recall(observe(part.tolist(), table[part]))
    assert found.all()
    assert torch.equal(rows.argmax(dim=1), table[part].argmax(dim=1))


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(2, 40),
    top_k=st.one_of(st.none(), st.integers(1, 45)),
    scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]),
    seed=st.integers(0, 10**6),
)
def test_the_error_is_within_the_stated_bound(classes, top_k, scale, seed):
    """‖P̂ − P‖₁ ≤ 2 (τ + ε), |CE(z, P̂) − CE(z, P)| ≤ (τ + ε) range(z)."""
    if top_k is not None and top_k >= classes:
        top_k = None
    before = logits(6, classes, seed, scale)
    history = History(top_k)
    history.remember(observe(list(range(6)), before))
    rows, _ = history.recall(observe(list(range(6)), before))
    exact = torch.softmax(before.double(), dim=1)
    k = top_k or classes
    tail = 1 - exact.topk(k, dim=1).values.sum(dim=1)
    bound = tail + 2**-11 + classes * 2**-25
    # The softmax itself is computed in float32.
    slack = 1e-6
    error = (rows.double() - exact).abs().sum(dim=1)
    assert (error <= 2 * bound + slack).all()
    z = logits(6, classes, seed + 1).double()
    log_p = torch.log_softmax(z, dim=1)
    difference = ((rows.double() - exact) * log_p).sum(dim=1).abs()
    span = z.max(dim=1).values - z.min(dim=1).values
    sums = (rows.double().sum(dim=1) - 1).abs() * log_p.abs().max()
    assert (difference <= bound * span + sums + slack * (1 + span)).all()


def test_rows_are_distributions_and_the_rest_is_even():
    history, before = History(top_k=2), logits(3, classes=6)
    history.remember(observe([0, 1, 2], before))
    rows, _ = history.recall(observe([0, 1, 2], before))
    assert torch.allclose(rows.sum(dim=1), torch.ones(3))
    assert (rows >= 0).all()
    for row in rows:
        assert row.sort().values[:4].unique().numel() == 1


def stored_bytes(history):
    state = history.state_dict()
    tensors = [v for v in state.values() if isinstance(v, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


def test_imagenet_s_history_takes_less_than_0_3_gb():
    """Counted on a sample of the rows: each takes 4k + 12 bytes."""
    history = History(top_k=50)
    history.remember(observe(list(range(100)), logits(100, classes=1000)))
    assert stored_bytes(history) == 100 * (4 * 50 + 12)
    assert 1_281_167 * (4 * 50 + 12) < 0.3e9


def test_it_goes_on_from_its_state(tmp_path):
    history, before = History(top_k=2), logits(3)
    history.remember(observe(['a', 'b', 'c'], before))
    torch.save(history.state_dict(), tmp_path / 'state.pth')
    other = History(top_k=2)
    other.load_state_dict(torch.load(tmp_path / 'state.pth'))
    asked = observe(['c', 'd'], logits(2))
    for got, want in zip(other.recall(asked), history.recall(asked)):
        assert torch.equal(got, want)
    other.remember(observe(['d'], logits(1)))
    assert len(other) == 4 and len(history) == 3


def test_a_state_with_another_top_k_is_refused():
    history = History(top_k=2)
    history.remember(observe(['a'], logits(1)))
    with pytest.raises(ValueError, match='top_k=2, the loss says 3'):
        History(top_k=3).load_state_dict(history.state_dict())


def test_as_many_largest_ones_as_classes_are_refused():
    with pytest.raises(ValueError, match='top_k=5 has no effect.* 5 classes'):
        History(top_k=5).remember(observe(['a'], logits(1, classes=5)))


def test_other_classes_are_another_data_set():
    history = History()
    history.remember(observe(['a'], logits(1, classes=5)))
    for ask in (history.recall, history.remember):
        with pytest.raises(ValueError, match='5 classes.*predicts 6'):
            ask(observe(['a'], logits(1, classes=6)))


def test_a_label_that_changes_changes_no_key():
    """As label noise in a pipeline does."""
    history = History()
    history.remember(observe([0], logits(1), torch.tensor([1])))
    asked = observe([0], logits(1), torch.tensor([2]))
    assert history.recall(asked)[1].all() and len(history) == 1


def test_names_of_files_need_not_be_utf_8():
    history, name = (
        History(),
        b'caf\xe9.jpg'.decode('utf-8', 'surrogateescape'),
    )
    history.remember(observe([name], logits(1)))
    assert history.recall(observe([name], logits(1)))[1].all()


OBJECTS = [('a.jpg', 0, 0), ('a.jpg', 1, 0), ('a.jpg', 0, 1), ('b.jpg', 0, 0)]


def test_objects_are_known_by_image_number_and_stage(tmp_path):
    history, before = History(), logits(4)
    history.remember(observe(OBJECTS, before))
    torch.save(history.state_dict(), tmp_path / 'state.pth')
    other = History()
    other.load_state_dict(torch.load(tmp_path / 'state.pth'))
    strangers = [('b.jpg', 1, 0), ('b.jpg', 0, 1), ('c.jpg', 0, 0), 'a.jpg']
    asked = observe(OBJECTS[::-1] + strangers, logits(8))
    rows, found = other.recall(asked)
    assert found.tolist() == [True] * 4 + [False] * 4
    want = torch.softmax(before, dim=1).flip(0)
    assert torch.allclose(rows[:4], want, atol=1e-3)


def test_independent_probabilities_are_remembered_as_they_are(tmp_path):
    """They do not sum to 1, and nothing makes them."""
    history, before = History(), logits(4, scale=8.0)
    seen = replace(observe(OBJECTS, before), use_sigmoid=True)
    history.remember(seen)
    torch.save(history.state_dict(), tmp_path / 'state.pth')
    other = History()
    other.load_state_dict(torch.load(tmp_path / 'state.pth'))
    for teacher in (history, other):
        rows, found = teacher.recall(seen)
        assert found.all()
        assert torch.equal(rows, before.sigmoid().half().float())
    assert (rows.sum(dim=1) - 1).abs().max() > 0.5


def test_independent_probabilities_have_no_largest_ones():
    seen = replace(observe(OBJECTS, logits(4)), use_sigmoid=True)
    history = History(top_k=2)
    with pytest.raises(ValueError, match='top_k=2.*sigmoid.*remove top_k'):
        history.remember(seen)
    assert len(history) == 0


@pytest.mark.parametrize('keys', [None, ['a', None]])
def test_samples_without_a_key_are_refused(keys):
    asked = observe(['a', 'b'], logits(2))
    asked = Observation(**{**vars(asked), 'keys': keys})
    for ask in (History().remember, History().recall):
        with pytest.raises(TypeError, match='meta_keys'):
            ask(asked)


def test_rows_carry_no_gradient():
    history = History()
    before = logits(2).requires_grad_()
    history.remember(observe([0, 1], before))
    rows, _ = history.recall(observe([0, 1], before))
    assert not rows.requires_grad


def observed(keys, generator, classes=5):
    count = len(keys)
    return Observation(
        torch.randn(count, classes, generator=generator),
        torch.zeros(count, dtype=torch.long),
        torch.zeros(count),
        torch.arange(count),
        keys,
    )


@pytest.mark.parametrize('top_k', [None, 2])
@pytest.mark.parametrize('seed', range(5))
def test_processes_that_tell_each_other_remember_as_one(seed, top_k):
    """Whenever they do; of two rows in a step the last process's stays."""
    generator = torch.Generator().manual_seed(seed)
    teachers = [History(top_k) for _ in range(3)]
    alone, latest = History(top_k), {}
    for step in range(12):
        for teacher in teachers:
            count = int(torch.randint(0, 4, (), generator=generator))
            drawn = torch.randint(0, 9, (count,), generator=generator)
            seen = observed([f'{key}.jpg' for key in drawn], generator)
            teacher.remember(seen)
            alone.remember(seen)
            latest.update(zip(seen.keys, seen.logits))
        if step % 4 == 3 or step == 5:
            news = [teacher.news() for teacher in teachers]
            for teacher in teachers:
                teacher.merge(news)
    want = alone.state_dict()
    for teacher in teachers:
        state = teacher.state_dict()
        assert state.keys() == want.keys()
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, want[name]), name
            else:
                assert value == want[name], name
        assert not len(teacher.news()['digests'])
    ask = observed(list(latest), generator)
    rows, found = teachers[0].recall(ask)
    assert found.all() and len(teachers[0]) == len(latest)
    if top_k is None:
        own = torch.stack(list(latest.values())).softmax(dim=1)
        assert torch.allclose(rows, own, atol=1e-3)


def test_one_that_has_seen_nothing_learns_from_the_others():
    other, blank = History(), History()
    other.remember(observed(['a', 'b'], torch.Generator()))
    news = [blank.news(), other.news()]
    blank.merge(news)
    assert len(blank) == 2
    blank.merge([blank.news()] * 2)
    assert len(blank) == 2


def test_news_are_compact_and_told_once():
    """``4k + 12`` bytes a sample."""
    history = History(top_k=3)
    history.remember(observed(list('abcd'), torch.Generator(), classes=100))
    news = history.news()
    arrays = [value for value in news.values() if hasattr(value, 'nbytes')]
    assert sum(array.nbytes for array in arrays) == 4 * (4 * 3 + 12)
    history.merge([news])
    history.remember(observed(['b'], torch.Generator(), classes=100))
    assert len(history.news()['digests']) == 1
