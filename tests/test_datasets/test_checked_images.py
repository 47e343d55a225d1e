"""Training sets go on where one of their images is damaged."""

import io
import logging

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import MultiImageMixDataset
from mmdet.registry import TRANSFORMS
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.logging import MMLogger
from PIL import Image

from epsd_mm.datasets.checked_images import skip_damaged_images
from epsd_mm.datasets.transforms import LoadCheckedImage
from tests.helpers.datasets import concatenated, repeated


class Images(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=f'{i}.png') for i in range(2)]


def images(*pipeline, **options):
    return Images(pipeline=list(pipeline), serialize_data=False, **options)


def loaders(dataset):
    return [type(t).__name__ for t in dataset.pipeline.transforms]


def test_the_loader_keeps_its_options_and_its_place():
    loader = LoadImageFromFile(
        to_float32=True,
        color_type='grayscale',
        imdecode_backend='pillow',
        backend_args=dict(backend='local'),
    )
    dataset = images(dict, loader, list)
    assert skip_damaged_images(dataset)
    first, new, last = dataset.pipeline.transforms
    assert (first, last) == (dict, list) and new.skip
    assert vars(loader).items() <= (vars(new) | dict(ignore_empty=0)).items()
    assert not skip_damaged_images(dataset), 'twice'


def test_every_set_under_wrappers():
    one, two = images(LoadImageFromFile()), images(LoadImageFromFile())
    wrapped = RepeatDataset(concatenated(one, two, repeated(one, 2)), 2)
    assert skip_damaged_images(wrapped)
    assert loaders(one) == loaders(two) == ['LoadCheckedImage']


def test_the_set_that_a_mosaic_is_made_of():
    inner = images(LoadImageFromFile())
    flip = dict(type='RandomFlip', prob=0.5)
    with TRANSFORMS.switch_scope_and_registry('mmdet'):
        assert skip_damaged_images(MultiImageMixDataset(inner, [flip]))
    assert loaders(inner) == ['LoadCheckedImage']


class Own(LoadImageFromFile):
    """A loader with a way of its own."""


@pytest.mark.parametrize(
    'loader, options',
    [
        (Own(), {}),
        (LoadImageFromFile(ignore_empty=True), {}),
        (LoadCheckedImage(), {}),
        (LoadImageFromFile(), dict(test_mode=True)),
    ],
)
def test_others_stay_as_they_are(loader, options):
    dataset = images(loader, **options)
    assert not skip_damaged_images(dataset)
    assert dataset.pipeline.transforms == [loader]


def test_what_is_no_set_of_mmengine_is_left_alone():
    assert not skip_damaged_images([1, 2, 3])


@pytest.fixture
def warnings(caplog):
    # Whichever is in use: earlier tests may have made one of their own.
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]
    logger.removeHandler(caplog.handler)


def picture(tmp_path, size=(40, 20), **options):
    path = tmp_path / 'a.png'
    Image.new('RGB', size, 'grey').save(path, **options)
    return path


def annotated(path, width, height, *boxes):
    instances = [dict(bbox=list(box), bbox_label=0) for box in boxes]
    results = dict(img_path=str(path), width=width, height=height)
    return dict(results, instances=instances)


class TestAnotherSizeThanAnnotated:
    @pytest.mark.parametrize('box', [(30, 1, 60, 9), (1, 1, 9, 30)])
    def test_with_a_box_that_is_not_in_the_image(
        self, tmp_path, warnings, box
    ):
        sample = annotated(picture(tmp_path), 80, 40, (1, 1, 9, 9), box)
        with pytest.raises(ValueError, match='40 x 20.* says 80 x 40.*box'):
            LoadCheckedImage()(dict(sample))
        assert LoadCheckedImage(skip=True)(dict(sample)) is None
        assert '1 skipped so far' in warnings()[-1]

    def test_with_boxes_that_fit_it_is_told_of_once(self, tmp_path, warnings):
        loader = LoadCheckedImage(skip=True)
        for _ in range(3):
            sample = annotated(picture(tmp_path), 80, 40, (1, 1, 41, 20))
            assert loader(sample)['img_shape'] == (20, 40)
        (message,) = warnings()
        assert 'a.png: it is 40 x 20, but its annotation says' in message

    def test_as_annotated_boxes_may_reach_beyond(self, tmp_path, warnings):
        """That is a warning of the annotations, and Resize cuts them off."""
        sample = annotated(picture(tmp_path), 40, 20, (1, 1, 60, 30))
        assert LoadCheckedImage()(sample)['img_shape'] == (20, 40)
        assert not warnings()

    def test_a_picture_on_its_side(self, tmp_path):
        """EXIF turns it, but its boxes are those of the file."""
        exif = Image.Exif()
        exif[0x0112] = 6
        path = tmp_path / 'a.jpg'
        Image.new('RGB', (40, 20), 'grey').save(path, exif=exif)
        with pytest.raises(ValueError, match='it is 20 x 40, .* 40 x 20'):
            LoadCheckedImage()(annotated(path, 40, 20, (1, 1, 39, 19)))


def test_formats_that_pillow_does_not_know_are_left_to_mmcv(tmp_path):
    content = cv2.imencode('.hdr', np.ones((4, 6, 3), np.float32))[1]
    (tmp_path / 'a.hdr').write_bytes(content.tobytes())
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(content.tobytes()))
    loaded = LoadCheckedImage()(dict(img_path=str(tmp_path / 'a.hdr')))
    assert loaded['img'].shape == (4, 6, 3)


def test_large_images_are_no_bombs(tmp_path, monkeypatch):
    path = picture(tmp_path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    assert LoadCheckedImage()(dict(img_path=str(path)))['img'] is not None
