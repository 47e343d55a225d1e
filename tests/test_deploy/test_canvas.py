"""What a config's test pipeline says of an exported file."""

import pytest
from mmengine.config import Config

from epsd_mm.deploy.canvas import canvas_of

LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackDetInputs')


def config(*steps, loads=(LOAD,)):
    dataset = dict(type='CocoDataset', pipeline=[*loads, *steps, PACK])
    return Config(dict(test_dataloader=dict(dataset=dataset)))


def test_keeping_the_ratio_fits_images_into_the_scale():
    cfg = config(dict(type='Resize', scale=(1333, 800), keep_ratio=True))
    canvas = canvas_of(cfg, divisor=32)
    assert (canvas.width, canvas.height) == (1344, 800)
    assert canvas.resize.mode == 'keep_ratio'
    assert list(canvas.resize.scale) == [1333, 800]


def test_a_data_set_in_a_wrapper_is_found():
    cfg = config(dict(type='Resize', scale=(64, 32)))
    cfg.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.test_dataloader.dataset]
    )
    assert canvas_of(cfg).resize.mode == 'stretch'


def test_another_size_replaces_that_of_the_config():
    cfg = config(dict(type='Resize', scale=(1333, 800), keep_ratio=True))
    canvas = canvas_of(cfg, (640, 480), divisor=32)
    assert (canvas.width, canvas.height) == (640, 480)
    assert list(canvas.resize.scale) == [640, 480]


def test_a_crop_of_another_size_shows_as_much_of_the_image():
    edge = dict(type='ResizeEdge', scale=256, edge='short')
    crop = dict(type='CenterCrop', crop_size=224)
    canvas = canvas_of(config(edge, crop))
    assert (canvas.width, canvas.height, canvas.resize.edge) == (224, 224, 256)
    smaller = canvas_of(config(edge, crop), (112, 112))
    assert (smaller.width, smaller.resize.edge) == (112, 128)


def test_pillows_bicubic_is_kept():
    edge = dict(
        type='ResizeEdge', scale=256, backend='pillow', interpolation='bicubic'
    )
    resize = canvas_of(
        config(edge, dict(type='CenterCrop', crop_size=224))
    ).resize
    assert (resize.backend, resize.interpolation) == ('pillow', 'bicubic')


def test_padding_to_a_square_is_the_canvas_and_its_colour_turns_to_rgb():
    cfg = config(
        dict(type='Resize', scale=(640, 480), keep_ratio=True),
        dict(
            type='Pad', pad_to_square=True, pad_val=dict(img=(1.0, 2.0, 3.0))
        ),
    )
    canvas = canvas_of(cfg, divisor=32)
    assert (canvas.width, canvas.height) == (640, 640)
    assert canvas.pad == (3.0, 2.0, 1.0)


def test_arrays_are_rgb_and_files_bgr():
    step = dict(type='Resize', scale=(32, 32))
    for loads in ('LoadImageFromFile', 'LoadCheckedImage'):
        canvas = canvas_of(config(step, loads=(dict(type=loads),)))
        assert canvas.order == 'bgr'
    annotations = dict(type='LoadAnnotations')
    assert canvas_of(config(step, loads=(annotations,))).order == 'rgb'
    assert canvas_of(config(step, loads=())).order == 'rgb'


def test_a_pipeline_without_a_size_asks_for_one():
    with pytest.raises(ValueError, match='add --size WIDTH HEIGHT'):
        canvas_of(config())
    assert canvas_of(config(), (32, 24)).width == 32


def test_a_size_that_the_network_cannot_take_names_the_nearest():
    cfg = config(dict(type='Resize', scale=(64, 32)))
    with pytest.raises(ValueError, match='of 32: say --size 320 256'):
        canvas_of(cfg, (333, 250), divisor=32)


def test_a_transform_that_a_file_cannot_repeat_is_named():
    with pytest.raises(ValueError, match='has RandomFlip, which an exported'):
        canvas_of(config(dict(type='RandomFlip', prob=0.5)))
