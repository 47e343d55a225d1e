"""A fingerprint tells one training set from another."""

from hashlib import blake2b

import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset

from epsd_mm.datasets.image_table import image_table
from epsd_mm.datasets.sample_keys import SampleKeys
from tests.helpers.datasets import classification_set, detection_set, objects

IMAGES = [objects(0, 1), objects(2), objects(1, 1, 0)]


def keys_of(dataset):
    return SampleKeys.of(dataset, image_table(dataset))


def print_of(dataset):
    return keys_of(dataset).fingerprint


def older(dataset):
    """By whole paths, as versions before had it."""
    table = image_table(dataset)
    paths = [str(dataset.get_data_info(i)['img_path']) for i in table.index]
    lines = [
        f'{path}|{" ".join(map(str, classes))}'
        for path, classes in zip(paths, table.classes)
    ]
    text = '\n'.join(sorted(lines)).encode()
    return blake2b(text, digest_size=16).hexdigest()


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


def test_a_set_that_moves_as_a_whole_keeps_its_keys(tmp_path):
    """Wherever its parts lie, and in whatever order they are listed."""

    def parts(first, second):
        return ConcatDataset(
            [
                moved(detection_set(tmp_path, IMAGES, name='a.json'), first),
                moved(detection_set(tmp_path, IMAGES, name='b.json'), second),
            ]
        )

    here = keys_of(parts('/data/2007/images', '/data/2012/images'))
    assert here.path_parts == 3
    there = keys_of(parts('/mnt/2007/images', '/home/me/2012/images'))
    assert there.path_parts == 3
    assert there.fingerprint == here.fingerprint
    swapped = keys_of(parts('/data/2012/images', '/data/2007/images'))
    assert swapped.fingerprint == here.fingerprint
    other = keys_of(parts('/data/2007/images', '/data/2008/images'))
    assert other.fingerprint != here.fingerprint


def test_no_more_of_a_path_counts_than_tells_images_apart(detected):
    assert keys_of(detected).path_parts is None  # there are names alone
    assert keys_of(moved(detected, '/deep/down')).path_parts == 1


def test_other_names_of_files_have_another(detected, tmp_path):
    other = detection_set(tmp_path, IMAGES, name='other.json')
    inner = other.get_data_info
    other.get_data_info = lambda index: dict(
        inner(index), img_path=f'/elsewhere/picture_{index}.jpg'
    )
    assert print_of(other) != print_of(moved(detected, '/here'))


def test_older_checkpoints_match_where_nothing_has_moved(detected):
    whole = older(moved(detected, '/data'))
    keys = keys_of(detected)
    assert keys.fingerprint != whole
    assert keys.matching(keys.fingerprint) is keys
    found = keys.matching(whole)
    assert found.path_parts is None and found.fingerprint == whole
    assert keys_of(moved(detected, '/mnt')).matching(whole) is None


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
        SampleKeys.of(
            dataset, image_table(classification_set(tmp_path, [0, 1]))
        )
