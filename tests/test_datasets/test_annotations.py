"""Bad annotations are refused by name; what is harmless trains."""

import json
import logging
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch
from mmdet.datasets import CocoDataset, VOCDataset
from mmdet.datasets.transforms import FilterAnnotations
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import BaseDataset, RepeatDataset, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

import epsd_mm
from epsd_mm.datasets.annotations import (
    check_annotations,
    check_configured_annotations,
)
from epsd_mm.datasets.bad_boxes import drop_bad_boxes
from tests.helpers.datasets import (
    classification_set,
    concatenated,
    detection_set,
    objects,
    repeated,
)
from tests.helpers.models import (
    detection_batch,
    tiny_faster_rcnn,
    tiny_retinanet,
)
from tests.helpers.real_data import extracted, needs

GOOD = ('cat', 11, 11, 40, 40)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs'),
]


@pytest.fixture(scope='module', autouse=True)
def registered():
    register_all_modules(init_default_scope=False)


@pytest.fixture
def logged():
    """A logger, and what was logged as text."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.Logger('annotations')
    logger.addHandler(handler)
    logger.messages = messages
    return logger


@pytest.fixture
def voc(tmp_path):
    """Write images of 100 x 80, each a list of (name, *box, difficult)."""

    def build(*images, lazy=False, size=(100, 80), **options):
        root = tmp_path / 'VOC2007'
        for folder in ('Annotations', 'JPEGImages', 'ImageSets'):
            (root / folder).mkdir(parents=True, exist_ok=True)
        names = [f'{i:02d}' for i in range(len(images))]
        (root / 'ImageSets' / 'list.txt').write_text('\n'.join(names))
        for name, things in zip(names, images):
            picture = Image.new('RGB', (100, 80), 'grey')
            picture.save(root / 'JPEGImages' / f'{name}.jpg')
            xml = ET.Element('annotation')
            if size is not None:
                bounds = ET.SubElement(xml, 'size')
                for tag, value in zip(('width', 'height'), size):
                    ET.SubElement(bounds, tag).text = str(value)
            for thing in things:
                element = ET.SubElement(xml, 'object')
                ET.SubElement(element, 'name').text = thing[0]
                flag = ET.SubElement(element, 'difficult')
                flag.text = str(int(len(thing) > 5 and thing[5]))
                box = ET.SubElement(element, 'bndbox')
                for tag, value in zip(
                    ('xmin', 'ymin', 'xmax', 'ymax'), thing[1:5]
                ):
                    ET.SubElement(box, tag).text = str(value)
            (root / 'Annotations' / f'{name}.xml').write_bytes(
                ET.tostring(xml)
            )
        with DefaultScope.overwrite_default_scope('mmdet'):
            return VOCDataset(
                **dict(
                    data_root=str(tmp_path),
                    ann_file='VOC2007/ImageSets/list.txt',
                    data_prefix=dict(sub_data_root='VOC2007/'),
                    pipeline=PIPELINE,
                    lazy_init=lazy,
                    # Collects garbage, which takes long.
                    serialize_data=False,
                )
                | options
            )

    return build


def coco_content(*things, categories=('cat', 'dog')):
    return dict(
        images=[dict(id=0, file_name='0.jpg', width=100, height=80)],
        categories=[
            dict(id=i, name=name) for i, name in enumerate(categories)
        ],
        annotations=[
            dict(
                id=70 + i,
                image_id=0,
                category_id=categories.index(name),
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
            )
            for i, (name, *box) in enumerate(things)
        ],
    )


@pytest.fixture
def coco(tmp_path):
    """Write boxes of an image of 100 x 80, each (category, x, y, w, h)."""

    def build(*things, categories=('cat', 'dog'), flags=(), **options):
        content = coco_content(*things, categories=categories)
        for annotation in content['annotations']:
            annotation.update(dict.fromkeys(flags, 1))
        path = tmp_path / 'coco.json'
        path.write_text(json.dumps(content))
        options = dict(metainfo=dict(classes=('cat', 'dog'))) | options
        return CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=''),
            pipeline=[],
            serialize_data=False,
            **options,
        )

    return build


BAD_BOXES = [
    ((40, 11, 20, 40), 'right edge is left of its left edge: exchange'),
    ((20, 40, 40, 11), 'bottom is above its top: exchange'),
    ((20, 11, 20, 40), 'no area'),
    ((20, 11, 40, 11), 'no area'),
    ((101, 11, 120, 40), 'entirely outside of the image of 100 x 80'),
    ((11, 90, 40, 120), 'entirely outside'),
    ((-30, 11, 1, 40), 'entirely outside'),
]


@pytest.mark.parametrize('box, message', BAD_BOXES)
def test_a_bad_box_is_refused_by_name(voc, logged, box, message):
    dataset = voc([GOOD], [GOOD, ('dog', *box)])
    with pytest.raises(ValueError, match=message) as error:
        check_annotations(dataset, logged)
    text = str(error.value)
    assert '01.xml, object 2 of 2 (dog)' in text and '00.xml' not in text
    assert 'xmin={}, ymin={}, xmax={}, ymax={}'.format(*box) in text


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
def test_a_coordinate_that_is_not_finite_is_refused(voc, logged, value):
    """mmdet stops on it without the name of the file."""
    dataset = voc([GOOD, ('dog', 11, value, 40, 40)], lazy=True)
    with pytest.raises(ValueError, match=f'object 2.*ymin={value}.*finite'):
        check_annotations(dataset, logged)


def test_a_difficult_object_with_a_bad_box_is_refused(voc, logged):
    with pytest.raises(ValueError, match='no area'):
        check_annotations(voc([GOOD, ('dog', 9, 9, 9, 20, 1)]), logged)


def test_many_bad_boxes_make_one_message(voc, logged):
    bad = ('dog', 40, 11, 20, 40)
    with pytest.raises(ValueError) as error:
        check_annotations(voc(7 * [bad]), logged)
    text = str(error.value)
    assert '7 bad annotations' in text and '… and 2 more' in text
    assert 'object 5 of 7' in text and 'object 6 of 7' not in text


def test_boxes_of_classes_left_out_do_not_matter(voc, logged):
    dataset = voc(
        [GOOD, ('dog', 40, 11, 20, 40)], metainfo=dict(classes=('cat',))
    )
    check_annotations(dataset, logged)
    assert len(logged.messages) == 1


def test_the_border_pixels_are_inside(voc, logged):
    check_annotations(voc([('cat', 1, 1, 100, 80)]), logged)
    assert not logged.messages


def test_boxes_partly_outside_are_one_warning(voc, logged):
    beyond = [('cat', -20, 11, 30, 40), ('dog', 60, 11, 130, 40)]
    check_annotations(voc([GOOD], beyond), logged)
    (message,) = logged.messages
    assert message.startswith('2 of 3 boxes reach beyond')
    assert '01.xml, object 1 of 2 (cat)' in message


def test_resize_cuts_boxes_off_at_the_border(voc):
    dataset = voc([('cat', -20, 11, 30, 140)])
    sample = dataset[0]['data_samples']
    box = sample.gt_instances.bboxes.tensor[0]
    height = sample.img_shape[0]
    assert box[0] == 0 and box[3] == height


@pytest.mark.parametrize('name', ['Cat', ' cat', 'cat ', 'CAT'])
def test_a_name_that_was_written_otherwise_is_refused(voc, logged, name):
    dataset = voc([GOOD, (name, *GOOD[1:])])
    with pytest.raises(ValueError, match=f"'{name}' differs .* 'cat'"):
        check_annotations(dataset, logged)


def test_a_class_that_every_file_writes_otherwise_is_a_slip_of_the_config(
    voc, logged
):
    dataset = voc([GOOD], 3 * [GOOD], metainfo=dict(classes=('Cat', 'dog')))
    with pytest.raises(ValueError) as error:
        check_annotations(dataset, logged)
    message = str(error.value)
    assert message.startswith('1 bad annotations')
    assert "'cat' of all 4 objects" in message and 'of the config' in message
    # Where some are right, the others are wrong.
    mixed = voc([GOOD, ('Cat', *GOOD[1:])], metainfo=dict(classes=('Cat',)))
    with pytest.raises(ValueError, match="object 1 of 2: .*write 'Cat'$"):
        check_annotations(mixed, logged)


def test_a_class_that_is_misspelt_in_the_config_is_named(voc, logged):
    classes = dict(classes=('catt', 'dog'))
    dog = ('dog', *GOOD[1:])
    check_annotations(voc([GOOD, dog], metainfo=classes), logged)
    (message,) = logged.messages
    assert "No object is a 'catt', a class of metainfo: is 'cat'" in message
    with pytest.raises(ValueError, match="in the config.* is 'cat' meant"):
        check_annotations(voc([GOOD], metainfo=classes), logged)


@pytest.mark.parametrize('kind', ['voc', 'coco'])
def test_classes_that_are_a_string_are_refused(kind, request, logged):
    build = request.getfixturevalue(kind)
    options = dict(metainfo=dict(classes='cat'))
    if kind == 'voc':
        options['lazy'] = True
        dataset = build([GOOD], **options)
    else:
        dataset = build(('cat', 1, 1, 30, 30), **options)
    with pytest.raises(
        ValueError, match=r"classes=\('cat',\), with the comma"
    ):
        check_annotations(dataset, logged)


class TestDroppedBoxes:
    """bad_boxes='drop' takes out what is refused otherwise, and says so."""

    @pytest.mark.parametrize('box, message', BAD_BOXES)
    def test_every_kind_is_taken_out(self, voc, logged, box, message):
        dataset = voc([('cat', *box), GOOD], [GOOD, ('dog', *box), GOOD])
        assert check_annotations(dataset, logged, 'drop') == 2
        (said,) = [m for m in logged.messages if 'dropped' in m]
        assert said.startswith('2 bad boxes are dropped')
        assert '00.xml, object 1 of 2 (cat)' in said
        assert '01.xml, object 2 of 3 (dog)' in said
        assert drop_bad_boxes(dataset) == 2
        left = [dataset.get_data_info(i)['instances'] for i in range(2)]
        assert [[i['bbox'] for i in own] for own in left] == [
            [[10, 10, 39, 39]],
            2 * [[10, 10, 39, 39]],
        ]
        assert drop_bad_boxes(dataset) == 0

    def test_what_else_is_wrong_is_refused_all_the_same(self, voc, logged):
        bad = ('cat', 50, 60, 20, 40)
        for other in (
            ('CAT', *GOOD[1:]),
            ('cat', 1, 1, 'nan', 9),
        ):
            dataset = voc([GOOD, bad, other], lazy=True)
            with pytest.raises(ValueError, match='^1 bad annotations'):
                check_annotations(dataset, logged, 'drop')

    def test_dropping_all_leaves_nothing_to_learn(self, voc, logged):
        dataset = voc([('cat', 50, 60, 20, 40)])
        with pytest.raises(ValueError, match='no object to learn from'):
            check_annotations(dataset, logged, 'drop')

    def test_through_wrappers_each_set_once(self, voc, logged):
        dataset = voc([('cat', 50, 60, 20, 40), GOOD], serialize_data=True)
        wrapped = RepeatDataset(concatenated(dataset, repeated(dataset, 2)), 2)
        assert check_annotations(wrapped, logged, 'drop') == 1
        assert drop_bad_boxes(wrapped) == 1
        infos = [wrapped.get_data_info(i) for i in range(len(wrapped))]
        assert [len(info['instances']) for info in infos] == 6 * [1]
        assert [info['sample_idx'] for info in infos] == [0, 0, 0] * 2

    @pytest.mark.parametrize('place', ['default_hooks', 'custom_hooks'])
    def test_the_config_of_the_hook_says_so_to_the_first_look(
        self, voc, place
    ):
        dataset = voc([('cat', 50, 60, 20, 40), GOOD], lazy=True)
        part = dict(
            type='VOCDataset',
            data_root=dataset.data_root,
            ann_file='VOC2007/ImageSets/list.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
        )
        cfg = dict(default_scope='mmdet', train_dataloader=dict(dataset=part))
        with pytest.raises(ValueError, match="bad_boxes='drop' of EPSDHook"):
            check_configured_annotations(cfg)
        hook = dict(type='DenseHook', bad_boxes='drop')
        hooks = dict(epsd=hook, other=None)
        cfg[place] = hooks if place == 'default_hooks' else [hook]
        check_configured_annotations(cfg)


def test_blanks_inside_a_name(voc, logged):
    with pytest.raises(ValueError, match="write 'pottedplant'"):
        check_annotations(voc([('potted plant', *GOOD[1:])]), logged)


def test_other_names_are_one_warning(voc, logged):
    others = [('tree', *GOOD[1:])] * 2 + [('tower', *GOOD[1:])]
    check_annotations(voc([GOOD], others), logged)
    (message,) = logged.messages
    assert 'background: tree (2), tower (1)' in message


def test_other_names_in_images_that_mmdet_filters_out(voc, logged):
    dataset = voc(
        [GOOD],
        [('tree', *GOOD[1:])],
        filter_cfg=dict(filter_empty_gt=True),
    )
    assert len(dataset) == 1
    check_annotations(dataset, logged)
    assert 'tree (1)' in logged.messages[0]


def test_no_known_name_at_all(voc, logged):
    """With this filter, mmdet cannot load the set and says nothing of it."""
    dataset = voc(
        [('tree', *GOOD[1:])],
        [('tower', *GOOD[1:])],
        filter_cfg=dict(filter_empty_gt=True),
        lazy=True,
    )
    with pytest.raises(ValueError) as error:
        check_annotations(dataset, logged)
    text = str(error.value)
    assert 'tree (1), tower (1)' in text and 'aeroplane' in text
    assert 'metainfo=dict(classes=…)' in text


class TestNothingToLearn:
    def check(self, dataset, logged, message):
        with pytest.raises(ValueError, match=message):
            check_annotations(dataset, logged)

    def test_all_difficult(self, voc, logged):
        dataset = voc([(*GOOD, 1)], [(*GOOD, 1)])
        self.check(dataset, logged, r'2 images .* difficult or ignored \(2\)')

    def test_all_small(self, voc, logged):
        dataset = voc([GOOD], filter_cfg=dict(bbox_min_size=32))
        self.check(dataset, logged, r'bbox_min_size=32 .* \(1\)')

    def test_all_in_small_images(self, voc, logged):
        dataset = voc([GOOD], lazy=True, filter_cfg=dict(min_size=90))
        self.check(dataset, logged, r'min_size=90 .* \(1\)')

    def test_no_object_anywhere(self, voc, logged):
        self.check(voc([], []), logged, '2 images .* none holds any object')

    def test_a_filter_does_nothing_in_test_mode(self, voc, logged):
        dataset = voc([GOOD], test_mode=True, filter_cfg=dict(min_size=90))
        check_annotations(dataset, logged)

    def test_one_object_is_enough(self, voc, logged):
        check_annotations(voc([(*GOOD, 1)], [], [GOOD]), logged)
        assert not logged.messages


@pytest.mark.parametrize(
    'thing, positives',
    [
        (('cat', 1, 1, 40, 40), 1),
        (('cat', 1, 1, 40, 40, 1), 0),
        (('tree', 1, 1, 40, 40), 0),
        (('cat', 1, 1, 32, 40), 1),
        (('cat', 1, 1, 31, 40), 0),
    ],
)
def test_positives_are_those_of_mmdet(voc, logged, thing, positives):
    """An error where, and only where, mmdet has none."""
    dataset = voc([GOOD, thing], filter_cfg=dict(bbox_min_size=31))
    flags = [i['ignore_flag'] for i in dataset.get_data_info(0)['instances']]
    assert flags.count(0) == positives
    if positives:
        check_annotations(dataset, logged)
    else:
        with pytest.raises(ValueError, match='no object to learn from'):
            check_annotations(dataset, logged)


def test_the_size_comes_from_the_image_where_the_file_has_none(voc, logged):
    check_annotations(voc([GOOD], size=None), logged)
    outside = voc([('cat', 101, 1, 140, 40)], size=None)
    with pytest.raises(ValueError, match='image of 100 x 80'):
        check_annotations(outside, logged)


def test_an_empty_size_is_refused(voc, logged):
    with pytest.raises(ValueError, match='00.xml: a size of 0 x 0'):
        check_annotations(voc([GOOD], size=(0, 0)), logged)


@pytest.mark.parametrize('damage', ['<annotation>', '<a><object/></a>'])
def test_a_damaged_file_is_named(voc, logged, tmp_path, damage):
    dataset = voc([GOOD], lazy=True)
    (tmp_path / 'VOC2007/Annotations/00.xml').write_text(damage)
    with pytest.raises(ValueError, match='00.xml is not understood'):
        check_annotations(dataset, logged)


def test_wrappers_are_looked_through(voc, logged):
    dataset = voc([('cat', 40, 11, 20, 40)])
    wrapped = DATASETS.build(
        dict(
            type='mmengine.ConcatDataset',
            datasets=[repeated(dataset, 2), dataset],
        )
    )
    with pytest.raises(ValueError, match='1 bad annotations'):
        check_annotations(wrapped, logged)


def test_one_part_with_objects_is_enough(tmp_path, logged):
    parts = [
        detection_set(tmp_path, [objects(0)], 'a.json'),
        detection_set(tmp_path, [[]], 'b.json'),
    ]
    check_annotations(DATASETS.build(concatenated(*parts)), logged)
    with pytest.raises(ValueError, match='none holds any object'):
        check_annotations(parts[1], logged)


def test_classification_sets_pass(tmp_path, logged):
    check_annotations(classification_set(tmp_path, [0, 1]), logged)


class TestCoco:
    def test_two_categories_of_one_name_are_named(self, coco, logged):
        dataset = coco(
            ('cat', 10, 10, 30, 30),
            categories=('cat', 'dog', 'cat'),
            lazy_init=True,
        )
        with pytest.raises(
            ValueError,
            match=r"categories\[0\] and categories\[2\] of .*name 'cat'",
        ):
            check_annotations(dataset, logged)

    @pytest.mark.parametrize('key', ['categories', 'images'])
    def test_two_entries_of_one_id_are_named(self, coco, logged, key):
        dataset = coco(('cat', 10, 10, 30, 30), lazy_init=True)
        path = Path(dataset.ann_file)
        content = json.loads(path.read_text())
        content[key].append(dict(content[key][0], name='bird'))
        path.write_text(json.dumps(content))
        last = len(content[key]) - 1
        with pytest.raises(
            ValueError, match=rf'{key}\[0\] and {key}\[{last}\] .*same id 0'
        ):
            check_annotations(dataset, logged)

    def test_a_misspelt_class_is_named(self, coco, logged):
        dataset = coco(
            ('cat', 10, 10, 30, 30),
            metainfo=dict(classes=('catt', 'dog')),
            lazy_init=True,
        )
        with pytest.raises(
            ValueError, match="in the config. For 'catt', is 'cat' meant"
        ):
            check_annotations(dataset, logged)

    def test_a_good_one_passes(self, coco, logged):
        check_annotations(coco(('dog', 10, 10, 30, 30)), logged)
        assert not logged.messages

    @pytest.mark.parametrize('box', [(40, 10, -20, 9), (40, 10, 20, -9)])
    def test_an_inverted_box_is_refused(self, coco, logged, box):
        dataset = coco(('cat', 1, 1, 9, 9), ('dog', *box))
        with pytest.raises(ValueError, match=r'0.jpg .*annotation 71 \(dog\)'):
            check_annotations(dataset, logged)

    def test_a_box_that_is_not_finite_is_refused(self, coco, logged):
        dataset = coco(('cat', 1, 1, 9, 9), ('dog', 1, math.nan, 9, 9))
        with pytest.raises(ValueError, match='not finite'):
            check_annotations(dataset, logged)

    def test_what_mmdet_drops_is_one_warning(self, coco, logged):
        dropped = [
            (9, 9, 0, 9),
            (9, 9, 0.5, 9),
            (9, 9, 9, 0.5),
            (101, 1, 9, 9),
        ]
        dataset = coco(
            ('cat', 1, 1, 9, 9), *[('dog', *box) for box in dropped]
        )
        assert len(dataset.get_data_info(0)['instances']) == 1
        check_annotations(dataset, logged)
        (message,) = logged.messages
        assert 'leaves out 4 objects' in message
        assert 'annotation 71' in message

    def test_other_categories_are_one_warning(self, coco, logged):
        dataset = coco(
            ('cat', 1, 1, 9, 9),
            ('tree', 1, 1, 9, 9),
            categories=('tree', 'cat', 'dog'),
        )
        check_annotations(dataset, logged)
        assert logged.messages[0].endswith('background: tree (1)')

    @pytest.mark.parametrize(
        'categories', [('dog', 'cat'), ('dog',), ('Cat', 'dog')]
    )
    def test_labels_with_the_names_of_others(self, coco, logged, categories):
        dataset = coco(('dog', 1, 1, 9, 9), categories=categories)
        label = dataset.get_data_info(0)['instances'][0]['bbox_label']
        assert dataset.metainfo['classes'][label] == 'cat'
        with pytest.raises(ValueError, match='classes cat, dog.*its order'):
            check_annotations(dataset, logged)

    def test_no_known_category_at_all(self, coco, logged):
        dataset = coco(('tree', 1, 1, 9, 9), categories=('tree',))
        with pytest.raises(ValueError, match=r'metainfo=dict\(classes=…\)'):
            check_annotations(dataset, logged)

    @pytest.mark.parametrize('flag', ['ignore', 'iscrowd'])
    def test_flags_count_as_mmdet_counts_them(self, coco, logged, flag):
        """What has ``ignore`` is dropped, a crowd is an ignored object."""
        dataset = coco(('cat', 1, 1, 9, 9), flags=[flag])
        found = dataset.get_data_info(0)['instances']
        assert [i['ignore_flag'] for i in found] == [1] * (flag == 'iscrowd')
        reason = dict(ignore='flagged with', iscrowd='difficult or')[flag]
        with pytest.raises(ValueError, match=rf'{reason} ignored? \(1\)'):
            check_annotations(dataset, logged)

    def test_objects_with_ignore_are_one_warning(self, coco, logged):
        """Whatever their boxes are: mmdet does not read them."""
        dataset = coco(('cat', 1, 1, 9, 9), lazy_init=True)
        content = coco_content(
            ('cat', 1, 1, 9, 9), ('dog', 40, 1, -20, 9), ('dog', 1, 1, 9, 9)
        )
        for annotation in content['annotations'][1:]:
            annotation['ignore'] = 1
        del content['annotations'][2]['bbox']
        self.write(dataset, content)
        check_annotations(dataset, logged)
        (message,) = logged.messages
        assert 'leaves out 2 objects that are flagged with ignore' in message
        assert 'background' in message and 'annotation 71' in message
        assert len(dataset.get_data_info(0)['instances']) == 1

    def write(self, dataset, content):
        Path(dataset.ann_file).write_text(json.dumps(content))

    @pytest.mark.parametrize(
        'place, key, value, reason',
        [
            (('annotations', 1), 'bbox', None, "no 'bbox'"),
            (('annotations', 1), 'bbox', [1, 2, 3], 'expected 4, got 3'),
            (('annotations', 1), 'bbox', [1, '2', 3, 4], "'2' is no number"),
            (('annotations', 1), 'area', None, "no 'area'"),
            (('annotations', 1), 'area', '81', "'81' is no number"),
            (('annotations', 1), 'id', None, "no 'id'"),
            (('annotations', 1), 'image_id', None, "no 'image_id'"),
            (('annotations', 1), 'category_id', None, "no 'category_id'"),
            (('images', 0), 'width', None, "no 'width'"),
            (('images', 0), 'height', '80', "'80' is no number"),
            (('images', 0), 'id', None, "no 'id'"),
            (('images', 0), 'file_name', None, "no 'file_name'"),
            (('categories', 1), 'name', None, "no 'name'"),
            (('categories', 1), 'id', None, "no 'id'"),
            ((), 'images', None, "no 'images'"),
        ],
    )
    def test_a_wrong_entry_is_named(
        self, coco, logged, place, key, value, reason
    ):
        """mmdet would stop on it without file or entry."""
        boxes = [('cat', 1, 1, 9, 9), ('dog', 1, 1, 9, 9)]
        dataset = coco(*boxes, lazy_init=True)
        content = entry = coco_content(*boxes)
        for step in place:
            entry = entry[step]
        del entry[key]
        if value is not None:
            entry[key] = value
        self.write(dataset, content)
        with pytest.raises(ValueError, match='not understood') as error:
            check_annotations(dataset, logged)
        text = str(error.value)
        where = '{}[{}] of '.format(*place) if place else ''
        assert text.startswith(f'{where}{dataset.ann_file} is not')
        assert reason in text and 'correct it, or ' in text
        if place:
            with pytest.raises((KeyError, TypeError, ValueError)):
                dataset.full_init()

    @pytest.mark.parametrize('text', ['{"images": [', '[]', 'null', ''])
    def test_a_damaged_file_is_named(self, coco, logged, text):
        dataset = coco(('cat', 1, 1, 9, 9), lazy_init=True)
        Path(dataset.ann_file).write_text(text)
        with pytest.raises(ValueError, match='coco.json is not understood'):
            check_annotations(dataset, logged)

    def test_the_name_of_the_file_does_not_matter(self, coco, logged):
        dataset = coco(('cat', 1, 1, 9, 9), lazy_init=True)
        renamed = Path(dataset.ann_file).with_suffix('.txt')
        Path(dataset.ann_file).rename(renamed)
        dataset.ann_file = str(renamed)
        check_annotations(dataset, logged)
        assert len(dataset) == 1

    def test_no_area_is_needed_where_mmdet_reads_none(self, coco, logged):
        dataset = coco(('cat', 1, 1, 9, 9), lazy_init=True)
        content = coco_content(('cat', 1, 1, 9, 9), ('cat', 200, 1, 9, 9))
        del content['annotations'][1]['area']
        self.write(dataset, content)
        check_annotations(dataset, logged)
        assert len(dataset.get_data_info(0)['instances']) == 1


EMPTY = dict(filter_empty_gt=True)


class TestBeforeLoading:
    """The configs of data sets, as tools/train.py looks at them."""

    def configured(self, *parts):
        joined = dict(type='ConcatDataset', datasets=[*parts])
        joined = dict(type='RepeatDataset', times=2, dataset=joined)
        return dict(
            default_scope='mmdet', train_dataloader=dict(dataset=joined)
        )

    def check(self, *parts):
        with DefaultScope.overwrite_default_scope('mmdet'):
            check_configured_annotations(self.configured(*parts))

    def load(self, *parts):
        cfg = self.configured(*parts)['train_dataloader']['dataset']
        with DefaultScope.overwrite_default_scope('mmdet'):
            return DATASETS.build(cfg)

    @pytest.fixture
    def voc_parts(self, voc, tmp_path):
        """Write sets of one image each, given as for ``voc``."""

        def build(*images, **options):
            voc(*images, lazy=True)
            for i in range(len(images)):
                path = tmp_path / f'VOC2007/ImageSets/{i}.txt'
                path.write_text(f'{i:02d}')
            return [
                dict(
                    type='VOCDataset',
                    data_root=str(tmp_path),
                    ann_file=f'VOC2007/ImageSets/{i}.txt',
                    data_prefix=dict(sub_data_root='VOC2007/'),
                    **options,
                )
                for i in range(len(images))
            ]

        return build

    @pytest.fixture
    def coco_parts(self, tmp_path):
        def build(*images, **options):
            parts = []
            names = ('cat', 'dog', 'tree')
            for i, things in enumerate(images):
                content = coco_content(*things, categories=names)
                path = tmp_path / f'{i}.json'
                path.write_text(json.dumps(content))
                parts.append(
                    dict(
                        type='CocoDataset',
                        ann_file=str(path),
                        metainfo=dict(classes=('cat', 'dog')),
                        data_prefix=dict(img=''),
                        **options,
                    )
                )
            return parts

        return build

    @pytest.mark.parametrize(
        'things, options, length',
        [
            ([], {}, 4),
            ([], dict(filter_cfg=EMPTY), None),
            ([], dict(filter_cfg=EMPTY, test_mode=True), 4),
            ([], dict(filter_cfg=EMPTY, serialize_data=False), 2),
            ([('tree', 1, 1, 9, 9)], {}, 4),
            ([('tree', 1, 1, 9, 9)], dict(filter_cfg=EMPTY), None),
            ([('dog', 1, 1, 30, 30)], dict(filter_cfg=EMPTY), 4),
        ],
    )
    @pytest.mark.parametrize('kind', ['voc_parts', 'coco_parts'])
    def test_a_part_is_refused_where_mmdet_stops(
        self, request, kind, things, options, length
    ):
        parts = request.getfixturevalue(kind)([GOOD], things, **options)
        if length is not None:
            assert len(self.load(*parts)) == length
            self.check(*parts)
            return
        with pytest.raises(ValueError, match='at least one array to conc'):
            self.load(*parts)
        with pytest.raises(ValueError) as error:
            self.check(*parts)
        text = str(error.value)
        assert parts[1]['ann_file'] in text and 'none of its 1 images' in text
        assert parts[0]['ann_file'] not in text
        assert 'need at least one array' in text and 'take it out' in text

    def test_objects_that_mmdet_drops_keep_their_image(
        self, coco_parts, voc_parts
    ):
        small = [('cat', 1, 1, 9, 0.5)]
        parts = coco_parts([GOOD], small, filter_cfg=EMPTY)
        assert len(self.load(*parts)) == 4
        self.check(*parts)
        parts = voc_parts([GOOD], [(*GOOD, 1)], filter_cfg=EMPTY)
        assert len(self.load(*parts)) == 4
        self.check(*parts)

    def test_a_part_of_small_images_is_refused(self, voc_parts):
        parts = voc_parts([GOOD], [GOOD])
        parts[1]['filter_cfg'] = dict(min_size=90)
        with pytest.raises(ValueError, match="1.txt: filter_cfg={'min_size"):
            self.check(*parts)

    def test_an_empty_list_is_refused(self, voc_parts, tmp_path):
        parts = voc_parts([GOOD], [GOOD])
        (tmp_path / 'VOC2007/ImageSets/1.txt').write_text('')
        with pytest.raises(ValueError, match='1.txt: it names no image'):
            self.check(*parts)

    def test_parts_without_objects_are_refused_together(self, voc_parts):
        with pytest.raises(ValueError, match='2 images .* none holds any'):
            self.check(*voc_parts([], []))

    def test_bad_boxes_of_all_parts_are_one_message(self, voc_parts):
        bad = [('cat', 40, 11, 20, 40)]
        with pytest.raises(ValueError, match='2 bad annotations'):
            self.check(*voc_parts(bad, bad))

    def test_a_filter_of_one_s_own_is_not_foretold(self, voc_parts):
        class Lenient(VOCDataset):
            def filter_data(self):
                return self.data_list

        filter_cfg = dict(filter_empty_gt=True, min_size=90)
        parts = voc_parts([GOOD], [], filter_cfg=filter_cfg)
        for part in parts:
            part['type'] = Lenient
        assert len(self.load(*parts)) == 4
        self.check(*parts)

    def test_other_sets_are_left_to_the_hook(self, voc_parts):
        """They may know no ``lazy_init``, or take long to build."""
        built = []

        @DATASETS.register_module()
        class Own:
            def __init__(self):
                built.append(self)

        class OwnFiles(VOCDataset):
            def __init__(self, **kwargs):
                built.append(self)

            def load_data_list(self):
                return []

        class OwnOptions(VOCDataset):
            def __init__(self, year):
                built.append(self)

        (negatives,) = voc_parts([])
        try:
            for kind in ('Own', 'mmdet.Own', Own, OwnFiles, OwnOptions):
                self.check(negatives, dict(type=kind))
        finally:
            del DATASETS.module_dict['Own']
        assert not built
        with pytest.raises(ValueError, match='none holds any object'):
            self.check(negatives)

    def test_bad_boxes_beside_other_sets_are_refused(self, voc_parts):
        parts = voc_parts([('cat', 40, 11, 20, 40)])
        with pytest.raises(ValueError, match='1 bad annotations'):
            self.check(*parts, dict(type=Told))


class Told(BaseDataset):
    """A detection set of one's own: boxes in memory."""

    def load_data_list(self):
        return [
            dict(
                img_path='own.jpg',
                width=100,
                height=80,
                instances=[dict(bbox=[40, 1, 20, 9], bbox_label=3)],
            )
        ]


def test_a_set_of_another_kind_tells_its_boxes(logged):
    with pytest.raises(ValueError, match=r'own.jpg, object 1 of 1 \(label 3'):
        check_annotations(Told(serialize_data=False), logged)


def shipped(name):
    """The training set of a config of mmdet's."""
    cfg = Config.fromfile(epsd_mm.config_path(name))
    return cfg.train_dataloader.dataset


@needs('voc.tar')
def test_the_published_annotations_pass(tmp_path, logged):
    extracted('voc.tar', tmp_path, 'VOCdevkit')
    cfg = shipped('voc_faster_rcnn_epsd')
    for part in cfg.dataset.datasets:
        part.data_root = f'{tmp_path}/VOCdevkit/'
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg)
    check_annotations(dataset, logged)
    assert not logged.messages


def step(model, batch):
    """Loss and greatest gradient of one training step."""
    data = model.data_preprocessor(batch, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return loss.item(), max(g.abs().max().item() for g in gradients)


@pytest.fixture(scope='module', params=[tiny_faster_rcnn, tiny_retinanet])
def model(request):
    return request.param()


def with_boxes(*boxes):
    batch = detection_batch()
    sample = batch['data_samples'][0]
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).float().reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
    )
    return batch


@pytest.mark.parametrize(
    'boxes',
    [
        [],
        [(20, 10, 20.3, 10.4)],
        [(20, 10, 20.2, 50), (5, 5, 40, 40)],
        [(-20, -20, 30, 30)],
    ],
    ids=['none', 'below a pixel', 'a thin one', 'partly outside'],
)
def test_what_passes_trains(model, boxes):
    loss, gradient = step(model, with_boxes(*boxes))
    assert 0 < loss < 1e3 and 0 < gradient < 1e3


def test_a_box_without_area_would_not(model):
    loss, _ = step(model, with_boxes((20, 10, 20, 40), (5, 5, 40, 40)))
    assert not math.isfinite(loss)


class TestFromFileToStep:
    """Through mmdet's own pipeline."""

    classes = dict(metainfo=dict(classes=('cat', 'dog')))

    def batch(self, dataset):
        return pseudo_collate([dataset[i] for i in range(len(dataset))])

    @pytest.mark.parametrize('keep', [False, True])
    def test_images_without_objects(self, voc, logged, model, keep):
        dataset = voc(
            [GOOD],
            [],
            [(*GOOD, 1)],
            filter_cfg=dict(filter_empty_gt=not keep),
            **self.classes,
        )
        check_annotations(dataset, logged)
        assert len(dataset) == 2 + keep
        loss, _ = step(model, self.batch(dataset))
        assert math.isfinite(loss)

    def test_objects_below_a_pixel_after_scaling(self, voc, logged, model):
        """A pixel of an image that is reduced to two thirds."""
        dataset = voc([('cat', 20, 20, 21, 21)], [GOOD], **self.classes)
        check_annotations(dataset, logged)
        boxes = dataset[0]['data_samples'].gt_instances.bboxes
        assert 0 < boxes.widths.item() < 1
        loss, _ = step(model, self.batch(dataset))
        assert math.isfinite(loss)

    def test_annotations_may_be_filtered_after_scaling(self, voc):
        pipeline = [*PIPELINE[:3], dict(type='FilterAnnotations')]
        pipeline[3]['keep_empty'] = False
        dataset = voc(
            [('cat', 20, 20, 21, 21), GOOD],
            [('cat', 20, 20, 21, 21)],
            pipeline=[*pipeline, PIPELINE[3]],
        )
        kept = [len(item['data_samples'].gt_instances) for item in dataset]
        assert kept == [1, 0]
        # As it is by default, it would draw another image instead.
        assert FilterAnnotations().keep_empty
