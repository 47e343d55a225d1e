"""Partners share a class, and the main batches stay as they were."""

from collections import Counter

import pytest
from mmdet.datasets import AspectRatioBatchSampler
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.registry import DATA_SAMPLERS, DefaultScope
from torch.utils.data import Sampler

from epsd_mm.datasets.image_table import image_table
from epsd_mm.datasets.samplers import ClassPairBatchSampler
from tests.helpers.datasets import (
    classification_set,
    concatenated,
    detection_set,
    objects,
    repeated,
)


class InOrder(Sampler):
    def __init__(self, dataset, seed=0, epoch=0, rank=0):
        self.dataset = dataset
        self.seed, self.epoch, self.rank = seed, epoch, rank

    def __iter__(self):
        return iter(range(len(self.dataset)))

    def __len__(self):
        return len(self.dataset)


def pairs(sampler):
    for batch in sampler:
        half = len(batch) // 2
        yield from zip(batch[:half], batch[half:])


def partners(sampler, epochs):
    """How often each index was the partner of each other."""
    counts = Counter()
    for epoch in range(epochs):
        sampler.sampler.epoch = epoch
        counts.update(pairs(sampler))
    return counts


@pytest.fixture
def classified(tmp_path):
    return classification_set(tmp_path, [0, 1, 2, 0, 1, 0, 1, 0])


def test_main_batches_are_those_of_the_plain_sampler(classified):
    sampler = DefaultSampler(classified, shuffle=True, seed=3)
    paired = ClassPairBatchSampler(sampler, 3)
    order = list(DefaultSampler(classified, shuffle=True, seed=3))
    batches = list(paired)
    assert [len(batch) for batch in batches] == [6, 6, 4]
    main = [i for batch in batches for i in batch[: len(batch) // 2]]
    assert main == order
    assert len(paired) == 3 and paired.batch_size == 3
    assert not paired.drop_last and paired.sampler is sampler


def test_a_last_batch_that_is_smaller_may_be_dropped(classified):
    paired = ClassPairBatchSampler(InOrder(classified), 3, drop_last=True)
    assert [len(batch) for batch in paired] == [6, 6]
    assert len(paired) == 2 and paired.drop_last


def test_a_partner_is_another_image_of_the_class(classified):
    labels = classified.get_gt_labels()
    paired = ClassPairBatchSampler(InOrder(classified), 4)
    for (image, partner), _ in partners(paired, 30).items():
        assert labels[image] == labels[partner]
        assert (image != partner) == (labels[image] != 2)


def test_partners_are_uniform(classified):
    paired = ClassPairBatchSampler(InOrder(classified), 4)
    counts = partners(paired, 900)
    for image in (0, 3, 5, 7):
        for partner in {0, 3, 5, 7} - {image}:
            # Three and a half standard deviations of 900 times 1/3.
            assert abs(counts[image, partner] - 300) < 50


def test_an_image_alone_in_its_class_is_its_own_partner(classified):
    counts = partners(ClassPairBatchSampler(InOrder(classified), 4), 5)
    assert {p for (i, p) in counts if i == 2} == {2}


@pytest.fixture
def detected(tmp_path):
    images = [
        objects(0, 1),
        objects(1),
        [(0, False), (2, True)],
        objects(2),
        [],
        [(0, True)],
    ]
    return detection_set(tmp_path, images)


def test_a_partner_shows_the_class_of_one_object(detected):
    counts = partners(ClassPairBatchSampler(InOrder(detected), 2), 400)
    assert {p for (i, p) in counts if i == 0} == {1, 2}
    assert {p for (i, p) in counts if i == 1} == {0}
    assert {p for (i, p) in counts if i == 2} == {0}
    # One object in two is of each class.
    assert abs(counts[0, 1] - 200) < 40


def test_a_class_of_one_image_does_not_take_the_place_of_others(tmp_path):
    """As classes of a long tail: image 0 alone shows class 2."""
    shown = [objects(2, 1, 2), objects(1), objects(0)]
    images = detection_set(tmp_path, shown)
    counts = partners(ClassPairBatchSampler(InOrder(images), 3), 20)
    assert counts == {(0, 1): 20, (1, 0): 20, (2, 2): 20}


def test_ignored_objects_make_no_pair(detected):
    """Class 2 is ignored in image 2, class 0 in image 5."""
    counts = partners(ClassPairBatchSampler(InOrder(detected), 2), 50)
    for image in (3, 4, 5):
        assert {p for (i, p) in counts if i == image} == {image}
        assert not any(p == image for (i, p) in counts if i != image)


def test_several_objects_of_a_class_make_it_likelier(tmp_path):
    dataset = detection_set(
        tmp_path, [objects(0, 0, 0, 1), objects(0), objects(1)]
    )
    counts = partners(ClassPairBatchSampler(InOrder(dataset), 3), 800)
    assert abs(counts[0, 1] - 600) < 50
    # Nor is an image drawn more often for showing a class three times.
    assert {p for (i, p) in counts if i == 1} == {0}


@pytest.mark.parametrize('repeated_first', [True, False])
def test_repeated_and_concatenated_sets(tmp_path, repeated_first):
    one = classification_set(tmp_path, [0, 1], 'one.json')
    two = classification_set(tmp_path, [0, 2], 'two.json')
    if repeated_first:
        dataset = ConcatDataset([repeated(one, 3), two])
    else:
        dataset = RepeatDataset(concatenated(one, two), 3)
    table = image_table(dataset)
    paired = ClassPairBatchSampler(InOrder(dataset), 4)
    seen = set()
    for index, partner in partners(paired, 10):
        image, other = table.image[index], table.image[partner]
        shared = set(table.classes[image]) & set(table.classes[other])
        assert shared
        # A repetition of an image is no other image.
        if table.classes[image] == (0,):
            assert image != other
        else:
            assert index == partner
        seen.add(index)
    assert seen == set(range(len(dataset)))


def drawn(dataset, **fields):
    return list(ClassPairBatchSampler(InOrder(dataset, **fields), 4))


@pytest.fixture
def large(tmp_path):
    return classification_set(tmp_path, [0, 1] * 40)


def test_partners_depend_on_seed_epoch_and_rank_alone(large):
    first = drawn(large, seed=1, epoch=2, rank=3)
    assert drawn(large, seed=1, epoch=2, rank=3) == first
    assert drawn(large, seed=2, epoch=2, rank=3) != first
    assert drawn(large, seed=1, epoch=1, rank=3) != first
    assert drawn(large, seed=1, epoch=2, rank=4) != first
    again = ClassPairBatchSampler(InOrder(large, 1, 2, 3), 4)
    assert list(again) == list(again) == first


def test_the_epoch_is_that_of_the_index_sampler(large):
    sampler = DefaultSampler(large, shuffle=False, seed=0)
    paired = ClassPairBatchSampler(sampler, 4)
    epochs = []
    for epoch in range(3):
        paired.sampler.set_epoch(epoch)
        epochs.append(list(paired))
    assert epochs[0] != epochs[1] != epochs[2]
    main = [[batch[:4] for batch in epoch] for epoch in epochs]
    assert main[0] == main[1] == main[2]


def test_samplers_without_an_epoch(large):
    class Plain(Sampler):
        def __init__(self, dataset):
            self.dataset = dataset

        def __iter__(self):
            return iter(range(4))

        def __len__(self):
            return 4

    (batch,) = ClassPairBatchSampler(Plain(large), 4)
    assert batch[:4] == [0, 1, 2, 3]


def test_a_base_makes_the_main_batches(detected):
    sampler = InOrder(detected)
    base = dict(type='AspectRatioBatchSampler', drop_last=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        paired = DATA_SAMPLERS.build(
            dict(
                type='ClassPairBatchSampler',
                sampler=sampler,
                batch_size=2,
                base=base,
            )
        )
    assert base == dict(type='AspectRatioBatchSampler', drop_last=False)
    assert isinstance(paired.base, AspectRatioBatchSampler)
    main = [batch[: len(batch) // 2] for batch in paired]
    want = AspectRatioBatchSampler(sampler, 2)
    assert main == list(want) and len(paired) == len(want)
    # Wide and narrow images are not mixed.
    assert all(len({i % 2 for i in batch}) == 1 for batch in main[:2])


@pytest.mark.parametrize('drop_last', [True, False])
def test_drop_last_beside_a_base_is_refused(classified, drop_last):
    with pytest.raises(ValueError, match=f'drop_last={drop_last} .*in base'):
        ClassPairBatchSampler(
            InOrder(classified),
            2,
            base=dict(type='AspectRatioBatchSampler'),
            drop_last=drop_last,
        )


def test_the_drop_last_of_the_base_is_seen(detected):
    base = dict(type='mmdet.AspectRatioBatchSampler', drop_last=True)
    assert ClassPairBatchSampler(InOrder(detected), 2, base=base).drop_last
