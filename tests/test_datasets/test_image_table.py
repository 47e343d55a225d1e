"""Which classes the images of a data set show."""

import json

import pytest
from mmdet.datasets import ConcatDataset as DetectionConcat
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmpretrain.datasets import KFoldDataset

from epsd_mm.datasets.image_table import image_table
from tests.helpers.datasets import (
    classification_set,
    concatenated,
    detection_set,
    objects,
    repeated,
)


def test_one_class_an_image(tmp_path):
    table = image_table(classification_set(tmp_path, [2, 0, 2]))
    assert table.classes == [(2,), (0,), (2,)]
    assert table.image.tolist() == table.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize('labels', [[[0, 2], [1], []], [[0, 2], [1, 2]]])
def test_several_classes_an_image(tmp_path, labels):
    dataset = classification_set(tmp_path, labels)
    assert image_table(dataset).classes == [tuple(own) for own in labels]


def test_folds_are_looked_into(tmp_path):
    whole = classification_set(tmp_path, [2, 0, 1, 2])
    config = dict(type=type(whole), ann_file=whole.ann_file)
    folds = KFoldDataset(config, num_splits=2)
    table = image_table(folds)
    assert table.classes == [(1,), (2,)]
    assert table.image.tolist() == [0, 1]


def test_one_class_an_object_ignored_ones_left_out(tmp_path):
    images = [
        objects(0, 2, 2),
        [(0, True), (1, False)],
        [(1, True)],
        [],
    ]
    table = image_table(detection_set(tmp_path, images))
    assert [sorted(c) for c in table.classes] == [[0, 2, 2], [1], [], []]


def test_a_filtered_set_is_numbered_as_it_is_indexed(tmp_path):
    dataset = detection_set(
        tmp_path, [[], objects(1)], filter_cfg=dict(filter_empty_gt=True)
    )
    table = image_table(dataset)
    assert len(dataset) == 1
    assert table.classes == [(1,)]


def test_a_set_that_is_not_loaded_yet(tmp_path):
    dataset = detection_set(tmp_path, [objects(1)], lazy_init=True)
    assert image_table(dataset).classes == [(1,)]


def test_repeated_images_are_the_same_image(tmp_path):
    dataset = RepeatDataset(classification_set(tmp_path, [2, 0]), times=3)
    table = image_table(dataset)
    assert table.classes == [(2,), (0,)]
    assert table.image.tolist() == [0, 1] * 3
    assert table.index.tolist() == [0, 1]


@pytest.mark.parametrize('concat', [ConcatDataset, DetectionConcat])
def test_concatenated_sets_have_different_images(tmp_path, concat):
    parts = [
        detection_set(tmp_path, [objects(2), objects(0)], 'one.json'),
        detection_set(tmp_path, [objects(1, 1)], 'two.json'),
    ]
    dataset = concat(parts)
    table = image_table(dataset)
    assert table.classes == [(2,), (0,), (1, 1)]
    assert table.image.tolist() == table.index.tolist() == [0, 1, 2]


def test_wrappers_inside_of_each_other(tmp_path):
    """As VOC's config has it: repeat(concat(...)), and the other way."""
    one = classification_set(tmp_path, [2, 0], 'one.json')
    two = classification_set(tmp_path, [1], 'two.json')
    dataset = RepeatDataset(concatenated(repeated(one, 2), two), 2)
    table = image_table(dataset)
    assert table.classes == [(2,), (0,), (1,)]
    assert table.image.tolist() == [0, 1, 0, 1, 2] * 2
    assert table.index.tolist() == [0, 1, 4]
    for index, image in enumerate(table.image):
        label = dataset.get_data_info(index)['gt_label']
        assert table.classes[image] == (label,)


def test_a_set_that_tells_no_classes_is_refused_by_name(tmp_path):
    class Silent(list):
        pass

    with pytest.raises(TypeError, match='Silent does not tell the classes'):
        image_table(Silent([1, 2]))
    path = tmp_path / 'set.json'
    content = dict(metainfo={}, data_list=[dict(img_path='0.jpg')])
    path.write_text(json.dumps(content))
    with pytest.raises(TypeError, match='BaseDataset does not tell'):
        image_table(BaseDataset(ann_file=str(path)))
