"""Damaged images are named or skipped; the others load as mmcv loads them."""

import io
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS as DETECTION_SETS
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.datasets.transforms import LoadCheckedImage
from tests.helpers.real_data import extracted, first_batch, needs

FORMATS = [
    dict(format='JPEG'),
    dict(format='JPEG', progressive=True),
    dict(format='PNG'),
    dict(format='BMP'),
]


def smooth(height=48, width=64):
    """Colours that survive a JPEG."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(small, (width, height)))


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def loaded(path, **options):
    return LoadCheckedImage(**options)(dict(img_path=str(path)))


@pytest.mark.parametrize(
    'format, mode',
    [('JPEG', mode) for mode in ('RGB', 'L', 'CMYK')]
    + [('PNG', mode) for mode in ('RGB', 'RGBA', 'L', 'LA', 'P', '1')]
    + [('BMP', mode) for mode in ('RGB', 'L', 'P', '1')],
)
def test_images_of_every_kind_come_out_as_mmcv_gives_them(
    tmp_path, format, mode
):
    content = encoded(smooth().convert(mode), format=format)
    (tmp_path / 'image').write_bytes(content)
    ours = loaded(tmp_path / 'image')
    theirs = LoadImageFromFile()(dict(img_path=str(tmp_path / 'image')))
    assert ours.keys() == theirs.keys()
    assert ours['img'].shape == (48, 64, 3)
    assert ours['img'].dtype == np.uint8
    np.testing.assert_array_equal(ours.pop('img'), theirs.pop('img'))
    assert ours == theirs
    assert ours['img_shape'] == ours['ori_shape'] == (48, 64)


def test_channels_are_in_the_order_bgr(tmp_path):
    Image.new('RGB', (4, 4), (200, 100, 50)).save(tmp_path / 'a.png')
    assert loaded(tmp_path / 'a.png')['img'][0, 0].tolist() == [50, 100, 200]


def test_the_orientation_of_exif_is_applied(tmp_path):
    image = smooth()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'a.jpg', exif=exif)
    assert loaded(tmp_path / 'a.jpg')['img_shape'] == (64, 48)
    kept = loaded(tmp_path / 'a.jpg', color_type='color_ignore_orientation')
    assert kept['img_shape'] == (48, 64)


def test_the_options_of_mmcv_still_work(tmp_path):
    smooth().save(tmp_path / 'a.png')
    grey = loaded(tmp_path / 'a.png', color_type='grayscale')['img']
    assert grey.shape == (48, 64)
    assert loaded(tmp_path / 'a.png', to_float32=True)['img'].dtype == 'f4'
    pillow = loaded(tmp_path / 'a.png', imdecode_backend='pillow')['img']
    np.testing.assert_array_equal(pillow, np.array(smooth())[..., ::-1])
    with pytest.raises(TypeError, match='ignore_empty'):
        LoadCheckedImage(ignore_empty=True)


@settings(deadline=None, max_examples=60)
@given(options=st.sampled_from(FORMATS), fraction=st.floats(0, 1, width=32))
def test_a_truncated_image_is_named_with_a_remedy(
    tmp_path_factory, options, fraction
):
    content = encoded(smooth(), **options)
    path = tmp_path_factory.mktemp('cut') / 'picture.jpg'
    path.write_bytes(content[: int(fraction * (len(content) - 2))])
    with pytest.raises(
        ValueError, match='picture.jpg is truncated, corrupt .*replace'
    ):
        loaded(path)


def test_a_truncated_image_that_decodes_in_part_is_noticed(
    tmp_path, monkeypatch
):
    """As with the versions of OpenCV that fill what is missing."""
    content = encoded(smooth(), format='JPEG')
    (tmp_path / 'a.jpg').write_bytes(content[: len(content) * 3 // 4])
    filled = np.zeros((48, 64, 3), np.uint8)
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: filled)
    with pytest.raises(ValueError, match='a.jpg is truncated'):
        loaded(tmp_path / 'a.jpg')


@pytest.mark.parametrize(
    'content',
    [b'', b'<html>404</html>', b'\xff\xd8\xff' + bytes(100)],
    ids=['empty', 'text', 'header'],
)
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / 'a.jpg').write_bytes(content)
    with pytest.raises(ValueError, match='a.jpg is truncated, .* or no image'):
        loaded(tmp_path / 'a.jpg')


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    content = bytearray(encoded(smooth(), format='PNG'))
    content[len(content) // 2] ^= 1
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ValueError, match='a.png is truncated, corrupt'):
        loaded(tmp_path / 'a.png')


def test_an_image_that_only_the_backend_cannot_decode_is_named(
    tmp_path, monkeypatch
):
    smooth().save(tmp_path / 'a.png')
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    with pytest.raises(ValueError, match='a.png .*cv2 gives nothing'):
        loaded(tmp_path / 'a.png')


@pytest.mark.parametrize('skip', [False, True])
def test_an_absent_file_and_a_wrong_option_are_never_skipped(tmp_path, skip):
    with pytest.raises(FileNotFoundError, match='nowhere.jpg'):
        loaded(tmp_path / 'nowhere.jpg', skip=skip)
    smooth().save(tmp_path / 'a.jpg')
    with pytest.raises(ValueError, match='no_such_backend'):
        loaded(
            tmp_path / 'a.jpg', skip=skip, imdecode_backend='no_such_backend'
        )


@pytest.fixture
def warnings(monkeypatch):
    """Warnings of the run's log."""
    seen = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(),
        'warning',
        lambda message, *_: seen.append(message),
    )
    return seen


@pytest.fixture
def folder(tmp_path):
    """Three images; the one in the middle is truncated."""
    content = encoded(smooth(), format='JPEG')
    for i in range(3):
        (tmp_path / f'{i}.jpg').write_bytes(content)
    (tmp_path / '1.jpg').write_bytes(content[: len(content) // 2])
    return tmp_path


class Images(BaseDataset):
    """Each image knows its number."""

    def load_data_list(self):
        paths = sorted(self.data_root.glob('*.jpg'))
        return [dict(img_path=str(p), number=i) for i, p in enumerate(paths)]


def test_a_skipped_image_is_replaced_logged_and_counted(folder, warnings):
    loader = LoadCheckedImage(skip=True)
    dataset = Images(data_root=folder, pipeline=[loader])
    for i in (0, 2):
        assert dataset[i]['number'] == i
    assert not warnings
    assert dataset[1]['number'] in (0, 2)
    first = len(warnings)
    assert first and all('1.jpg' in warning for warning in warnings)
    assert dataset[1]['number'] in (0, 2)
    numbers = [f'{i + 1} skipped so far' for i in range(len(warnings))]
    assert len(warnings) > first
    assert all(n in warning for n, warning in zip(numbers, warnings))


def test_nothing_but_damaged_images_ends_after_max_refetch(folder, warnings):
    for i in (0, 2):
        shutil.copy(folder / '1.jpg', folder / f'{i}.jpg')
    dataset = Images(
        data_root=folder, pipeline=[LoadCheckedImage(skip=True)], max_refetch=4
    )
    with pytest.raises(Exception, match='Cannot find valid image after 4'):
        dataset[0]
    assert len(warnings) == 5


def test_a_test_set_stops_and_the_log_says_why(folder, warnings):
    dataset = Images(
        data_root=folder,
        pipeline=[LoadCheckedImage(skip=True)],
        test_mode=True,
    )
    dataset[0]
    with pytest.raises(Exception, match='Test time'):
        dataset[1]
    assert len(warnings) == 1
    assert '1.jpg' in warnings[0]
    assert 'test mode cannot skip and stops here: replace' in warnings[0]


def test_without_skip_every_data_set_stops_at_the_name(folder):
    for test_mode in (False, True):
        dataset = Images(
            data_root=folder,
            pipeline=[LoadCheckedImage()],
            test_mode=test_mode,
        )
        with pytest.raises(ValueError, match='1.jpg is truncated'):
            dataset[1]


def test_workers_skip_too(folder):
    dataset = Images(data_root=folder, pipeline=[LoadCheckedImage(skip=True)])
    loader = DataLoader(dataset, 3, num_workers=1, collate_fn=pseudo_collate)
    (batch,) = loader
    assert len(batch['img']) == 3
    assert set(batch['number']) <= {0, 2}


def test_a_detector_loads_and_skips_through_it(tmp_path, warnings):
    devkit = generate_voc(tmp_path, train=4, test=2, size=48)
    names = (devkit / 'VOC2007/ImageSets/Main/trainval.txt').read_text()
    damaged = devkit / 'VOC2007' / 'JPEGImages' / f'{names.split()[0]}.jpg'
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with DETECTION_SETS.switch_scope_and_registry('mmdet') as registry:
        dataset = registry.build(
            dict(
                type='VOCDataset',
                data_root=f'{devkit}/',
                ann_file='VOC2007/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2007/'),
                metainfo=dict(classes=('disc', 'square', 'triangle')),
                pipeline=[
                    dict(type='LoadCheckedImage', skip=True),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='Resize', scale=(96, 96), keep_ratio=True),
                    dict(type='PackDetInputs'),
                ],
            )
        )
    assert len(dataset) == 4
    for i in range(4):
        sample = dataset[i]
        assert sample['inputs'].shape == (3, 96, 96)
        meta = sample['data_samples'].metainfo
        assert meta['ori_shape'] == (48, 48)
        assert meta['img_path'] != str(damaged)
        assert len(sample['data_samples'].gt_instances) > 0
    assert warnings and all(str(damaged) in warning for warning in warnings)


CROPS = [
    dict(type='LoadCheckedImage'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]


@needs('imagenet-sample.tar')
def test_real_imagenet_comes_out_as_batches(tmp_path):
    root = extracted('imagenet-sample.tar', tmp_path) / 'imagenet'
    for split, images in (('train', 160), ('val', 60)):
        dataset = DATASETS.build(
            dict(
                type='ImageNet',
                data_root=str(root),
                ann_file=f'meta/{split}.txt',
                data_prefix=split,
                pipeline=CROPS,
            )
        )
        assert len(dataset) == images
        assert len(dataset.CLASSES) == 1000
        assert len(set(dataset.get_gt_labels())) == images
        batch = first_batch(dataset)
        assert batch['inputs'].shape == (8, 3, 224, 224)
        for sample in batch['data_samples']:
            name = dataset.CLASSES[int(sample.gt_label)].split(',')[0]
            assert name.replace(' ', '_') in sample.img_path


@needs('imagenet-sample.tar')
def test_real_grey_images_have_three_channels(tmp_path):
    root = extracted('imagenet-sample.tar', tmp_path, 'imagenet/val')
    modes = {}
    for path in sorted(root.rglob('*.JPEG')):
        modes.setdefault(Image.open(path).mode, path)
    assert loaded(modes['L'])['img'].shape[2] == 3
    assert loaded(modes['RGB'])['img'].shape[2] == 3


@needs('cub.tar')
def test_real_birds_come_out_as_batches(tmp_path):
    root = extracted('cub.tar', tmp_path) / 'CUB_200_2011'
    for split, images in (('train', 1200), ('test', 575)):
        dataset = DATASETS.build(
            dict(type='CUB', data_root=str(root), split=split, pipeline=CROPS)
        )
        assert len(dataset) == images
        assert len(set(dataset.get_gt_labels())) == 40
        batch = first_batch(dataset)
        assert batch['inputs'].shape == (8, 3, 224, 224)
        for sample in batch['data_samples']:
            number = f'/{int(sample.gt_label) + 1:03}.'
            assert number in sample.img_path
