"""The drawn detection set: exact boxes, the same bytes, nothing lost."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from epsd_mm.datasets.drawn_voc import SHAPES, draw_scene, generate_voc


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def boxes(xml):
    return [
        tuple(int(box.findtext(t)) for t in ('xmin', 'ymin', 'xmax', 'ymax'))
        for box in ET.parse(xml).iter('bndbox')
    ]


def test_same_arguments_same_bytes(tmp_path):
    first = tree(generate_voc(tmp_path / 'a', train=6, test=2, seed=3))
    second = tree(generate_voc(tmp_path / 'b', train=6, test=2, seed=3))
    assert first == second


def test_other_seed_other_images(tmp_path):
    first = tree(generate_voc(tmp_path / 'a', train=1, test=1, seed=0))
    second = tree(generate_voc(tmp_path / 'b', train=1, test=1, seed=1))
    name = 'VOC2007/JPEGImages/000001.jpg'
    assert first[name] != second[name]


def test_a_longer_set_starts_like_a_shorter_one(tmp_path):
    short = tree(generate_voc(tmp_path / 'a', train=3, test=1))
    long = tree(generate_voc(tmp_path / 'b', train=5, test=1))
    images = [name for name in short if name.endswith(('.jpg', '.xml'))]
    assert len(images) == 8
    assert all(short[name] == long[name] for name in images)


def test_written_boxes_enclose_the_visible_figures_exactly(tmp_path):
    voc = generate_voc(tmp_path, train=30, test=1, seed=5) / 'VOC2007'
    for index in range(30):
        _, objects = draw_scene(index, seed=5)
        written = boxes(voc / 'Annotations' / f'{index + 1:06d}.xml')
        assert len(written) == len(objects) > 0
        for (xmin, ymin, xmax, ymax), drawn in zip(
            written, objects, strict=True
        ):
            # From 1 and inclusive, as VOC counts.
            inside = drawn.mask[ymin - 1 : ymax, xmin - 1 : xmax]
            assert inside.sum() == drawn.mask.sum() > 0
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.any()


def test_figures_never_hide_each_other():
    for index in range(60):
        _, objects = draw_scene(index, num_classes=len(SHAPES))
        assert np.sum([o.mask for o in objects], axis=0).max() == 1


def test_figures_stand_out_from_the_background_unless_difficult():
    contrast = {False: [], True: []}
    for index in range(150):
        image, objects = draw_scene(index)
        for drawn in objects:
            ys, xs = np.nonzero(drawn.mask)
            around = np.zeros_like(drawn.mask)
            around[
                max(ys.min() - 4, 0) : ys.max() + 5,
                max(xs.min() - 4, 0) : xs.max() + 5,
            ] = True
            for other in objects:
                around &= ~other.mask
            inside = image[drawn.mask].mean(axis=0)
            outside = image[around].mean(axis=0)
            contrast[drawn.difficult].append(np.linalg.norm(inside - outside))
    assert 5 < len(contrast[True]) < 0.15 * len(contrast[False])
    assert np.median(contrast[False]) > 2 * np.median(contrast[True])
    assert np.min(contrast[False]) > 50


@pytest.mark.parametrize('name', SHAPES)
def test_every_figure_has_its_own_outline(name):
    grid = np.linspace(-1, 1, 101)
    u, v = np.meshgrid(grid, grid)
    masks = {key: inside(u, v) for key, inside in SHAPES.items()}
    for other in set(SHAPES) - {name}:
        differ = (masks[name] ^ masks[other]).sum()
        assert differ > 0.25 * masks[name].sum()


def test_lists_and_annotation_fields(tmp_path):
    voc = generate_voc(tmp_path, train=10, test=4, size=64) / 'VOC2007'
    main = voc / 'ImageSets' / 'Main'
    lists = {
        split: (main / f'{split}.txt').read_text().split()
        for split in ('train', 'val', 'trainval', 'test')
    }
    assert {k: len(v) for k, v in lists.items()} == dict(
        train=8, val=2, trainval=10, test=4
    )
    assert sorted(lists['train'] + lists['val']) == lists['trainval']
    assert not set(lists['trainval']) & set(lists['test'])
    for name in lists['trainval'] + lists['test']:
        root = ET.parse(voc / 'Annotations' / f'{name}.xml').getroot()
        with Image.open(voc / 'JPEGImages' / f'{name}.jpg') as image:
            assert image.size == (64, 64)
        assert root.findtext('size/width') == '64'
        for element in root.iter('object'):
            assert element.findtext('pose') == 'Unspecified'
            assert element.findtext('difficult') in '01'
            assert element.findtext('truncated') in '01'


def test_an_identical_set_is_left_alone(tmp_path):
    devkit = generate_voc(tmp_path, train=2, test=1)
    image = devkit / 'VOC2007' / 'JPEGImages' / '000001.jpg'
    before = image.stat().st_mtime_ns
    assert generate_voc(tmp_path, train=2, test=1) == devkit
    assert image.stat().st_mtime_ns == before


@pytest.mark.parametrize('change', ['seed', 'edited', 'removed', 'foreign'])
def test_anything_else_is_never_overwritten(tmp_path, change):
    seed = 0
    if change == 'foreign':
        (tmp_path / 'VOCdevkit').mkdir()
        (tmp_path / 'VOCdevkit' / 'mine.txt').write_text('mine')
    else:
        devkit = generate_voc(tmp_path, train=2, test=1)
        image = devkit / 'VOC2007' / 'JPEGImages' / '000001.jpg'
        if change == 'edited':
            image.write_bytes(image.read_bytes() + b' ')
        elif change == 'removed':
            image.unlink()
        else:
            seed = 1
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match='VOCdevkit'):
        generate_voc(tmp_path, train=2, test=1, seed=seed)
    assert tree(tmp_path) == before


def test_nothing_half_written_when_interrupted(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('epsd_mm.datasets.drawn_voc._digest', stop)
    with pytest.raises(KeyboardInterrupt):
        generate_voc(tmp_path, train=2, test=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'wrong',
    [
        dict(classes=()),
        dict(classes=('a', 'a')),
        dict(classes=[f'c{i}' for i in range(len(SHAPES) + 1)]),
        dict(train=0),
        dict(test=0),
        dict(size=8),
        dict(seed=-1),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generate_voc(tmp_path / 'new', **wrong)
    assert not (tmp_path / 'new').exists()


def test_mmdet_reads_what_was_drawn(tmp_path):
    datasets = pytest.importorskip('mmdet.datasets')
    classes = ('cat', 'dog')
    devkit = generate_voc(tmp_path, train=12, test=2, classes=classes)
    dataset = datasets.VOCDataset(
        data_root=str(devkit),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=classes),
        pipeline=[],
    )
    assert len(dataset) == 12
    for index in range(12):
        _, objects = draw_scene(index, num_classes=2)
        instances = dataset.get_data_info(index)['instances']
        assert [i['bbox_label'] for i in instances] == [
            o.label for o in objects
        ]
        assert [i['bbox'] for i in instances] == [
            [value - 1 for value in o.box] for o in objects
        ]
        assert [bool(i['ignore_flag']) for i in instances] == [
            o.difficult for o in objects
        ]
