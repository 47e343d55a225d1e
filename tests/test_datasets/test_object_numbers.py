"""Objects keep their numbers through whatever drops or moves boxes."""

import json
import pickle
from xml.etree import ElementTree

import numpy as np
import pytest
from mmdet.datasets import (
    CocoDataset,
    MultiImageMixDataset,
    VOCDataset,
)
from mmdet.utils import register_all_modules
from mmengine.dataset import ConcatDataset, RepeatDataset, pseudo_collate
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from epsd_mm.datasets import number_objects
from epsd_mm.datasets.leaves import leaf_datasets
from tests.helpers.datasets import concatenated, repeated
from tests.helpers.real_data import extracted, needs

CLASSES = tuple('abcdefgh')
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
]
PACK = [dict(type='PackDetInputs')]
# What SSD's and other configs of mmdet use, and what else drops boxes.
AUGMENT = [
    dict(type='Expand', mean=[0, 0, 0], ratio_range=(1, 2)),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3), min_crop_size=0.3),
    dict(type='Resize', scale=(96, 80), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=(60, 60), allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(5, 5), keep_empty=False),
]


def build_all(transforms):
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return [
            TRANSFORMS.build(t) if isinstance(t, dict) else t
            for t in transforms
        ]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two pictures whose objects all have a class of their own.

    Object ``i`` of picture ``p`` is of class ``(3 i + p) % 8``; every third
    is ignored.
    """
    root = tmp_path_factory.mktemp('numbered')
    generator = np.random.default_rng(0)
    annotations = []
    for picture in range(2):
        pixels = generator.integers(0, 255, (80, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{picture}.png')
        for place in range(8):
            left, top = generator.integers(0, 60, 2).tolist()
            width, height = generator.integers(8, 20, 2).tolist()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=picture,
                    category_id=(3 * place + picture) % 8 + 1,
                    bbox=[left, top, width, height],
                    area=width * height,
                    iscrowd=int(place % 3 == 2),
                )
            )
    content = dict(
        images=[
            dict(id=i, file_name=f'{i}.png', width=96, height=80)
            for i in range(2)
        ],
        annotations=annotations,
        categories=[dict(id=i + 1, name=c) for i, c in enumerate(CLASSES)],
    )
    (root / 'set.json').write_text(json.dumps(content))
    return root


def pictures(folder, *transforms):
    return CocoDataset(
        ann_file=str(folder / 'set.json'),
        metainfo=dict(classes=CLASSES),
        data_prefix=dict(img=f'{folder}/'),
        pipeline=build_all([*LOAD, *transforms, *PACK]),
    )


def parts(sample):
    """Pairs of number and label, of counted and of ignored objects."""
    return [
        list(zip(part.object_ids.tolist(), part.labels.tolist()))
        for part in (sample.gt_instances, sample.ignored_instances)
    ]


def test_every_object_keeps_its_number_and_its_label(folder):
    dataset = pictures(folder, *AUGMENT)
    number_objects(dataset)
    np.random.seed(0)
    kept = 0
    for draw in range(60):
        picture = draw % 2
        counted, ignored = parts(dataset[picture]['data_samples'])
        for number, label in counted + ignored:
            assert label == (3 * number + picture) % 8
        assert all(number % 3 != 2 for number, _ in counted)
        assert all(number % 3 == 2 for number, _ in ignored)
        numbers = [number for number, _ in counted + ignored]
        assert len(set(numbers)) == len(numbers)
        kept += len(numbers)
    assert 60 < kept < 420, 'nothing was dropped, or nothing was left'


def test_it_changes_nothing_else(folder):
    plain, numbered = pictures(folder), pictures(folder)
    number_objects(numbered)
    for got, want in zip(numbered, plain):
        assert (got['inputs'] == want['inputs']).all()
        got, want = got['data_samples'], want['data_samples']
        for part in ('gt_instances', 'ignored_instances'):
            a, b = got.get(part), want.get(part)
            assert (a.labels == b.labels).all()
            assert (a.bboxes.tensor == b.bboxes.tensor).all()
            assert set(a.keys()) - set(b.keys()) == {'object_ids'}
        assert got.metainfo == want.metainfo


def kinds(dataset):
    return [type(t).__name__ for t in dataset.pipeline.transforms]


def test_doing_it_again_changes_nothing(folder):
    dataset = pictures(folder, *AUGMENT)
    before = kinds(dataset)
    number_objects(dataset)
    once = kinds(dataset)
    number_objects(dataset)
    assert kinds(dataset) == once
    assert once[:3] == before[:2] + ['NumberObjects']
    assert once[-2:] == ['PackDetInputs', 'UnpackObjectNumbers']
    assert [k for k in once if 'Number' not in k] == before


def test_wrapped_sets_are_numbered_once_each(folder):
    first, second = pictures(folder), pictures(folder)
    wrapped = RepeatDataset(concatenated(first, second, repeated(first, 2)), 2)
    assert list(leaf_datasets(wrapped)) == [first, second]
    number_objects(wrapped)
    assert len(wrapped) == 2 * 4 * 2
    for index in range(8):
        counted, ignored = parts(wrapped[index]['data_samples'])
        assert sorted(n for n, _ in counted + ignored) == list(range(8))
    for leaf in (first, second):
        assert kinds(leaf).count('NumberObjects') == 1


def test_worker_processes_number_too(folder):
    dataset = pictures(folder)
    number_objects(dataset)
    loader = DataLoader(dataset, 2, num_workers=1, collate_fn=pseudo_collate)
    (batch,) = loader
    # A worker that is started afresh gets a pickled copy.
    copied = pickle.loads(pickle.dumps(dataset))
    for picture, sample in enumerate(batch['data_samples']):
        want = [(i, (3 * i + picture) % 8) for i in range(8)]
        assert sorted(sum(parts(sample), [])) == want
        assert parts(copied[picture]['data_samples']) == parts(sample)


RESIZE = dict(type='Resize', scale=(96, 80))
MOSAIC = dict(type='Mosaic', img_scale=(80, 96))


@pytest.mark.parametrize(
    'transform, named',
    [
        (MOSAIC, 'Mosaic'),
        (dict(type='CachedMosaic', img_scale=(80, 96)), 'CachedMosaic'),
        (dict(type='MixUp'), 'MixUp'),
        (dict(type='CachedMixUp'), 'CachedMixUp'),
        (dict(type='CopyPaste'), 'CopyPaste'),
        (dict(type='RandomChoice', transforms=[[RESIZE], [MOSAIC]]), 'Mosaic'),
        (dict(type='RandomApply', transforms=[MOSAIC], prob=0.5), 'Mosaic'),
        (
            dict(
                type='RandomChoice',
                transforms=[
                    [dict(type='RandomApply', transforms=dict(type='MixUp'))]
                ],
            ),
            'MixUp',
        ),
    ],
)
def test_what_mixes_pictures_is_refused_by_name(transform, named, folder):
    dataset = pictures(folder, transform)
    before = kinds(dataset)
    with pytest.raises(ValueError, match=f'^{named} puts.*CSKDLoss'):
        number_objects(dataset)
    assert kinds(dataset) == before


def test_a_set_that_mixes_pictures_is_refused(folder):
    inner = pictures(folder)
    inner.pipeline.transforms.pop()
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        mixing = MultiImageMixDataset(inner, [MOSAIC, *PACK])
    with pytest.raises(ValueError, match='no PackDetInputs .*CSKDLoss'):
        number_objects(mixing)
    assert 'NumberObjects' not in kinds(inner)


@pytest.mark.parametrize(
    'position, named', [(1, 'LoadAnnotations'), (-1, 'PackDetInputs')]
)
def test_a_pipeline_without_loading_or_packing_is_refused(
    position, named, folder
):
    dataset = pictures(folder)
    del dataset.pipeline.transforms[position]
    with pytest.raises(ValueError, match=f'CocoDataset has no {named} .*Load'):
        number_objects(dataset)
    assert not any('Number' in kind for kind in kinds(dataset))


def test_nothing_is_numbered_where_one_of_two_sets_is_refused(folder):
    good, bad = pictures(folder), pictures(folder, MOSAIC)
    with pytest.raises(ValueError, match='Mosaic'):
        number_objects(ConcatDataset([good, bad]))
    assert not any('Number' in kind for kind in kinds(good) + kinds(bad))


def test_a_set_without_a_pipeline_is_refused():
    with pytest.raises(ValueError, match='list has no pipeline of transforms'):
        number_objects([1, 2, 3])


@pytest.fixture(scope='module')
def devkit(tmp_path_factory):
    part = 'VOCdevkit/VOC2007/'
    return extracted('voc.tar', tmp_path_factory.mktemp('real'), part)


def voc(devkit, *transforms):
    dataset = VOCDataset(
        data_root=f'{devkit}/VOCdevkit/',
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        pipeline=build_all([*LOAD, *transforms, *PACK]),
        indices=60,
    )
    number_objects(dataset)
    return dataset


def written(devkit, sample):
    """Class and box of each object, in the order of the file."""
    stem = sample.img_path.rpartition('/')[2].partition('.')[0]
    path = devkit / f'VOCdevkit/VOC2007/Annotations/{stem}.xml'
    for node in ElementTree.parse(path).iter('object'):
        box = [node.find(f'bndbox/{n}').text for n in _CORNERS]
        yield node.find('name').text, [float(value) - 1 for value in box]


_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


@needs('voc.tar')
def test_numbers_on_real_pictures_are_places_in_their_files(devkit):
    """The boxes are those of the file, stretched and mirrored."""
    size = 300
    dataset = voc(
        devkit,
        dict(type='Resize', scale=(size, size), keep_ratio=False),
        dict(type='RandomFlip', prob=0.5),
    )
    checked = mirrored = 0
    for item in dataset:
        sample = item['data_samples']
        objects = list(written(devkit, sample))
        height, width = sample.ori_shape
        mirrored += sample.flip
        for part in (sample.gt_instances, sample.ignored_instances):
            boxes = part.bboxes.tensor.tolist()
            for box, number in zip(boxes, part.object_ids.tolist()):
                _, (left, top, right, bottom) = objects[number]
                left, right = left * size / width, right * size / width
                if sample.flip:
                    left, right = size - right, size - left
                want = [left, top * size / height]
                want += [right, bottom * size / height]
                assert box == pytest.approx(want, abs=0.01)
                checked += 1
    assert checked > 100 and 0 < mirrored < 60


@needs('voc.tar')
def test_labels_on_real_pictures_are_those_of_the_numbers(devkit):
    """Through what SSD's pipeline does."""
    dataset = voc(devkit, *AUGMENT[:2], *AUGMENT[3:4])
    classes = dataset.metainfo['classes']
    checked = dropped = 0
    for item in dataset:
        sample = item['data_samples']
        objects = list(written(devkit, sample))
        seen = sum(parts(sample), [])
        for number, label in seen:
            assert classes[label] == objects[number][0]
        checked += len(seen)
        dropped += len(objects) - len(seen)
    assert checked > 50 and dropped > 5
