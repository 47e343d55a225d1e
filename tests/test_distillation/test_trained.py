"""Whose predictions a trained network's are."""

import pytest
import torch

from epsd_mm.distillation import Observation, Trained


def observe(rows, classes=3, of_images=False, stages=True, **options):
    """Rows of (stage, image, object); a logit is ten times those digits."""
    stage, image, place = torch.tensor(rows).reshape(-1, 3).unbind(1)
    number = (100 * stage + 10 * image + place).double()
    count = len(rows)
    return Observation(
        logits=number[:, None].repeat(1, classes),
        labels=torch.zeros(count, dtype=torch.long),
        weights=torch.ones(count),
        images=image,
        stages=stage if stages else None,
        objects=None if of_images else place,
        **options,
    )


def recall(taught, asked):
    teacher = Trained()
    teacher.remember(taught)
    rows, found = teacher.recall(asked)
    return rows[:, 0].tolist(), found.tolist()


def test_an_object_has_the_row_of_that_object_in_whatever_order():
    there = observe([(0, 2, 1), (0, 0, 3), (0, 0, 0), (1, 0, 3)])
    asked = observe([(0, 0, 0), (0, 0, 1), (0, 0, 3), (1, 0, 3), (0, 2, 1)])
    rows, found = recall(there, asked)
    assert found == [True, False, True, True, True]
    assert rows == [0, 0, 3, 103, 21]


def test_many_objects_against_a_plain_search():
    torch.manual_seed(0)
    sizes = torch.tensor([3, 5, 7])
    several = [
        (torch.rand(40, 3) * sizes).long().unique(dim=0) for _ in range(2)
    ]
    there, asked = ([tuple(r) for r in part.tolist()] for part in several)
    there = [r for i, r in enumerate(there) if i % 3] + [(2, 4, 6)]
    _, found = recall(observe(there), observe(asked))
    assert found == [row in there for row in asked] and 5 < sum(found) < 40


def test_images_are_told_by_their_place():
    rows = [(0, i, 0) for i in range(3)]
    images = observe(rows, of_images=True, stages=False)
    assert recall(images, images) == ([0, 10, 20], [True] * 3)


@pytest.mark.parametrize('empty', ['taught', 'asked'])
def test_nothing_seen_is_nothing_found(empty):
    parts = dict(taught=observe([(0, 0, 0)]), asked=observe([(0, 0, 0)]))
    parts[empty] = observe([])
    _, found = recall(**parts)
    assert not any(found) and len(found) == len(parts['asked'])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(classes=4), 'predicts 4 of one distribution and the student 3'),
        (dict(use_sigmoid=True), '3 independent classes and the student 3 of'),
    ],
)
def test_other_classes_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        recall(observe([(0, 0, 0)], **options), observe([(0, 0, 0)]))


def test_stages_that_the_teacher_lacks_are_refused_not_left_out():
    with pytest.raises(ValueError, match='in 3 stages .* teacher in 1'):
        recall(observe([(0, 0, 0)]), observe([(0, 0, 0), (2, 0, 0)]))


def test_it_has_to_be_shown_first():
    with pytest.raises(RuntimeError, match='not asked before'):
        Trained().recall(observe([(0, 0, 0)]))
