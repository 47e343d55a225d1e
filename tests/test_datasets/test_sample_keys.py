"""A fingerprint tells one training set from another."""

import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset

from epsd_mm.datasets.image_table import image_table
from epsd_mm.datasets.sample_keys import fingerprint
from tests.helpers.datasets import classification_set, detection_set, objects

IMAGES = [objects(0, 1), objects(2), objects(1, 1, 0)]


def print_of(dataset):
    return fingerprint(dataset, image_table(dataset))


def moved(dataset, folder):
    """The same set, its pictures in a folder."""
    inner = dataset.get_data_info

    def info(index):
        found = inner(index)
        return dict(found, img_path=f'{folder}/{found["img_path"]}')

    dataset.get_data_info = info
    return dataset


@pytest.fixture
def detected(tmp_path):
    return detection_set(tmp_path, IMAGES)


def test_the_same_images_and_objects_have_the_same(detected, tmp_path):
    again = detection_set(tmp_path, IMAGES, name='again.json')
    assert print_of(again) == print_of(detected)
    assert print_of(RepeatDataset(detected, 3)) == print_of(detected)


def test_the_order_of_images_does_not_matter(detected, tmp_path):
    # Every set names its pictures 0.jpg, 1.jpg, …
    first = moved(detection_set(tmp_path, IMAGES[:1], name='a.json'), 'a')
    second = moved(detection_set(tmp_path, IMAGES[1:], name='b.json'), 'b')
    orders = [[first, second], [second, first]]
    assert len({print_of(ConcatDataset(sets)) for sets in orders}) == 1


@pytest.mark.parametrize(
    'images',
    [
        IMAGES[:2],
        [IMAGES[1], IMAGES[0], IMAGES[2]],
        [objects(0, 2), *IMAGES[1:]],
        # The places of objects are their numbers.
        [objects(1, 0), *IMAGES[1:]],
        [objects(0), *IMAGES[1:]],
        [[(0, False), (1, True)], *IMAGES[1:]],
        [objects(0, 1, 1), *IMAGES[1:]],
    ],
    ids=['fewer', 'others', 'class', 'order', 'gone', 'ignored', 'more'],
)
def test_other_objects_have_another(images, detected, tmp_path):
    other = detection_set(tmp_path, images, name='other.json')
    assert print_of(other) != print_of(detected)


def test_other_paths_have_another(detected, tmp_path):
    other = detection_set(tmp_path, IMAGES, name='other.json')
    assert print_of(moved(other, 'elsewhere')) != print_of(detected)


def test_labels_of_images_count(tmp_path):
    sets = [
        classification_set(tmp_path, labels, name=f'{i}.json')
        for i, labels in enumerate([[0, 1, 2], [0, 1, 2], [0, 2, 1]])
    ]
    first, same, other = (print_of(dataset) for dataset in sets)
    assert first == same != other


def test_names_of_files_need_not_be_utf_8(tmp_path):
    name = b'caf\xe9'.decode('utf-8', 'surrogateescape')
    assert print_of(moved(classification_set(tmp_path, [0]), name))


def test_two_images_of_one_name_are_refused(detected, tmp_path):
    again = detection_set(tmp_path, IMAGES, name='again.json')
    with pytest.raises(ValueError, match="two images.*'0.jpg'.*list each"):
        print_of(ConcatDataset([detected, again]))


def test_images_without_a_name_are_refused(tmp_path):
    dataset = classification_set(tmp_path, [0, 1])
    dataset.get_data_info = lambda index: dict(gt_label=index)
    with pytest.raises(ValueError, match='image 0 of BaseDataset has neither'):
        fingerprint(dataset, image_table(classification_set(tmp_path, [0, 1])))
