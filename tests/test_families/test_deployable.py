"""One plain module from pixels to final boxes, as mm finds them."""

from functools import partial

import pytest
import torch
from mmcv.ops import MaskedConv2d
from mmengine.config import Config

from epsd_mm.families.deployable import as_deployed
from epsd_mm.families.ssd import repair_ssd_head
from tests.helpers.models import (
    classification_batch,
    tiny_cascade,
    tiny_classifier,
    tiny_faster_rcnn,
    tiny_retinanet,
    tiny_ssd,
)
from tests.helpers.scores import in_order, samples, spread
from tests.helpers.stock import stock

DETECTORS = {
    'Faster R-CNN': (tiny_faster_rcnn, 128),
    'Cascade R-CNN': (tiny_cascade, 128),
    'RetinaNet': (tiny_retinanet, 128),
    'SSD': (tiny_ssd, 300),
} | {
    name: (partial(stock, name), 160)
    for name in (
        'FCOS',
        'ATSS',
        'GFL',
        'FSAF',
        'SABL',
        'VFNet',
        'RepPoints',
        'RTMDet',
        'YOLOX',
        'YOLOv3',
        'Dynamic R-CNN',
        'DCN',
        'DETR',
    )
}

SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)


def detector(name):
    build, size = DETECTORS[name]
    model = build()
    repair_ssd_head(model)
    return spread(model, size), size


def pictures(module, sizes, side):
    """Noise in the upper left, and what is padding for the model."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(len(sizes), 3, side, side, generator=generator)
    image = (image * 58 + 116).clamp(0, 255)
    pixel = torch.tensor(module.pixels.padding_pixel())[:, None, None]
    for picture, (height, width) in zip(image, sizes, strict=True):
        picture[:, height:] = pixel
        picture[:, :, width:] = pixel
    return image


@pytest.mark.parametrize('name', DETECTORS)
def test_a_batch_gets_the_boxes_that_mm_finds_in_each_image(name):
    model, side = detector(name)
    module = as_deployed(model)
    sizes = [(side - 20, side), (side, side - 31)]
    image = pictures(module, sizes, side)
    with torch.no_grad():
        found = module(image, torch.tensor(sizes))
        inputs = module.pixels(image)
        expected = model.predict(inputs, samples(sizes), rescale=False)
    for row, sample in enumerate(expected):
        instances = sample.pred_instances[: module.count]
        number = len(instances)
        assert number > 5
        assert (found.labels[row] >= 0).sum() == number
        torch.testing.assert_close(
            in_order(*(part[row, :number] for part in found)),
            in_order(instances.bboxes, instances.scores, instances.labels),
            rtol=0,
            atol=1e-3,
        )
        assert not found.scores[row, number:].any()
        assert not found.boxes[row, number:].any()


def test_normalisation_and_the_order_of_channels_are_inside():
    model, side = detector('RetinaNet')
    preprocessor = model.data_preprocessor
    assert preprocessor._channel_conversion
    module = as_deployed(model)
    rgb = torch.randint(0, 256, (1, 3, side, side)).float()
    bgr = rgb[:, [2, 1, 0]]
    data = dict(inputs=[bgr[0].byte()], data_samples=samples([(side, side)]))
    expected = preprocessor(data)['inputs']
    torch.testing.assert_close(module.pixels(rgb), expected)


def test_the_padding_pixel_becomes_what_mm_pads_with():
    model, _ = detector('RetinaNet')
    module = as_deployed(model)
    pixel = torch.tensor(module.pixels.padding_pixel())
    became = module.pixels(pixel.reshape(1, 3, 1, 1).expand(-1, -1, 2, 2))
    assert became.abs().max() == 0


def test_the_model_stays_as_it_was():
    model, side = detector('Faster R-CNN')
    before = {name: value.clone() for name, value in model.named_parameters()}
    trains = {name: p.requires_grad for name, p in model.named_parameters()}
    as_deployed(model)
    assert '_bbox_post_process' not in vars(model.rpn_head)
    assert 'forward' not in vars(model.roi_head.bbox_roi_extractor)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        assert value.requires_grad == trains[name]


def test_a_model_in_training_mode_is_refused():
    model, _ = detector('RetinaNet')
    with pytest.raises(ValueError, match=r'training mode: call eval\(\)'):
        as_deployed(model.train())


def test_another_kind_of_suppression_is_named():
    model, side = detector('RetinaNet')
    model.bbox_head.test_cfg.nms = dict(type='soft_nms', iou_threshold=0.5)
    with pytest.raises(ValueError, match="'soft_nms'.*type='nms'"):
        as_deployed(model)


def test_a_head_that_cannot_be_exported_is_named():
    model, _ = detector('Faster R-CNN')
    model.roi_head.__class__ = type('GridRoIHead', (type(model.roi_head),), {})
    with pytest.raises(ValueError, match='GridRoIHead cannot be exported'):
        as_deployed(model)


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('PAA', 'PAAHead cannot be exported: boxes vote'),
        ('TOOD', 'TOODHead cannot be exported: it repeats its anchors'),
    ],
)
def test_what_a_file_would_do_otherwise_is_refused_with_the_reason(
    name, reason
):
    with pytest.raises(ValueError, match=reason):
        as_deployed(stock(name).eval())


def test_an_end_of_its_own_that_nobody_knows_is_refused():
    model, _ = detector('RetinaNet')
    kind = type(model.bbox_head)
    own = dict(_bbox_post_process=lambda *args, **kwargs: None)
    model.bbox_head.__class__ = type('VotingHead', (kind,), own)
    with pytest.raises(ValueError, match='VotingHead cannot .* is its own'):
        as_deployed(model)


def test_an_operator_that_a_file_lacks_is_named():
    model, _ = detector('RetinaNet')
    model.neck.extra = MaskedConv2d(8, 8, 3)
    with pytest.raises(ValueError, match='neck.extra is a MaskedConv2d, an'):
        as_deployed(model)


def test_a_detector_without_a_limit_keeps_three_hundred():
    model, _ = detector('YOLOX')
    assert 'max_per_img' not in Config(model.bbox_head.test_cfg)
    assert as_deployed(model).count == 300


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
@pytest.mark.parametrize(
    'head', [{}, dict(type='MultiLabelLinearClsHead', loss=SIGMOID)]
)
def test_a_classifier_gives_the_probabilities_that_mm_predicts(head, order):
    model = tiny_classifier(**head).eval()
    batch = classification_batch(size=16)
    as_mm_got_them = torch.stack(batch['inputs'])
    rgb = as_mm_got_them
    if order == 'bgr':
        rgb = as_mm_got_them.flip(1)
    with torch.no_grad():
        found = as_deployed(model, order)(rgb)
        expected = model.test_step(batch)
    scores = torch.stack([sample.pred_score for sample in expected])
    torch.testing.assert_close(found, scores)
    assert found.std() > 1e-4
