"""Partners of one's own class, as constants."""

from dataclasses import replace

import pytest
import torch

from epsd_mm.distillation import CSKDLoss, Observation, Pairs, Partner


def observe(labels, images, classes=3, mark=0.0):
    """Row ``i`` predicts ``mark + i`` everywhere."""
    n = len(labels)
    logits = mark + torch.arange(n).float()[:, None].repeat(1, classes)
    return Observation(
        logits.requires_grad_(),
        torch.tensor(labels, dtype=torch.long),
        torch.full((n,), 1 / max(n, 1)),
        torch.tensor(images, dtype=torch.long),
    )


def recalled(partners, observation):
    teacher = Partner()
    teacher.remember(partners)
    rows, found = teacher.recall(observation)
    return rows[:, 0].tolist(), found.tolist(), rows


def test_partners_have_the_samples_class():
    partners = observe([2, 0, 1], [0, 1, 2])
    chosen, found, _ = recalled(partners, observe([0, 1, 2], [0, 1, 2]))
    assert chosen == [1, 2, 0]
    assert all(found)


def test_a_class_that_is_absent_is_not_found():
    partners = observe([0, 0], [0, 1])
    _, found, rows = recalled(partners, observe([1, 0, 2], [0, 1, 1]))
    assert found == [False, True, False]
    assert rows.shape == (3, 3)


def test_the_own_images_partner_comes_first():
    partners = observe([0, 0, 0, 1], [0, 1, 2, 1])
    main = observe([0, 0, 0, 1], [2, 1, 0, 0])
    for _ in range(20):
        chosen, found, _ = recalled(partners, main)
        assert chosen == [2, 1, 0, 3]
        assert all(found)


def test_otherwise_the_choice_is_uniform():
    partners = observe([0, 0, 1, 0], [1, 2, 3, 3])
    main = observe([0] * 3000, [0] * 3000)
    chosen, _, _ = recalled(partners, main)
    counts = [chosen.count(i) for i in range(4)]
    assert counts[2] == 0
    # Three standard deviations of a binomial of 3000 and 1/3 are 77.
    assert all(abs(counts[i] - 1000) < 110 for i in (0, 1, 3))


def test_within_the_own_images_partner_the_choice_is_uniform():
    partners = observe([0, 0, 0], [0, 0, 1])
    chosen, _, _ = recalled(partners, observe([0] * 2000, [0] * 2000))
    counts = [chosen.count(i) for i in range(3)]
    assert counts[2] == 0
    assert all(abs(counts[i] - 1000) < 90 for i in (0, 1))


def test_in_a_cascade_stages_are_not_mixed():
    """Not even where only another stage has the class."""
    partners = observe([0, 1, 0, 0], [0, 0, 0, 1])
    main = observe([0, 0, 1, 1], [0, 0, 0, 0])
    partners = replace(partners, stages=torch.tensor([0, 0, 1, 2]))
    main = replace(main, stages=torch.tensor([0, 1, 0, 1]))
    for _ in range(20):
        chosen, found, _ = recalled(partners, main)
        assert found == [True, True, True, False]
        assert chosen[:3] == [0, 2, 1]


def test_rows_are_constants():
    _, _, rows = recalled(observe([0], [0]), observe([0], [0]))
    assert not rows.requires_grad


def test_recall_only_reads():
    teacher = Partner()
    teacher.remember(observe([0, 1], [0, 1]))
    main = observe([1, 0], [0, 1])
    first = teacher.recall(main)
    again = teacher.recall(main)
    assert torch.equal(first[0], again[0])
    teacher.remember(observe([0, 1], [0, 1], mark=50.0))
    assert teacher.recall(main)[0][:, 0].tolist() == [51.0, 50.0]


@pytest.mark.parametrize('partners, main', [(0, 2), (2, 0), (0, 0)])
def test_nothing_observed(partners, main):
    others = observe([0] * partners, [0] * partners)
    observation = observe([0] * main, [0] * main)
    _, found, rows = recalled(others, observation)
    assert rows.shape == (main, 3)
    assert found == [False] * main
    found = torch.tensor(found, dtype=torch.bool)
    assert float(CSKDLoss()(observation, rows, found)) == 0


def test_recall_before_anything_was_remembered():
    with pytest.raises(RuntimeError, match='no partner was observed'):
        Partner().recall(observe([0], [0]))


def test_cs_kd_takes_a_fresh_teacher_each_time():
    loss = CSKDLoss()
    assert isinstance(loss.build_teacher(), Partner)
    assert loss.build_teacher() is not loss.build_teacher()
    assert isinstance(loss.needs, Pairs)
