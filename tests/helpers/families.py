"""Builders of one small network a family, and a batch for each."""

import torch

from .models import (
    classification_batch,
    detection_batch,
    seeded_model,
    shipped,
    tiny_classifier,
    tiny_faster_rcnn,
    tiny_retinanet,
    tiny_ssd,
)
from .stock import stock


def tiny_fcos():
    """With whole groups of four channels under its normalisation."""
    cfg = shipped('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')
    cfg.backbone = dict(type='ResNet', depth=18, base_channels=4)
    cfg.backbone.update(stem_channels=4, zero_init_residual=False)
    cfg.neck.update(in_channels=[4, 8, 16, 32], out_channels=16)
    cfg.bbox_head.update(in_channels=16, feat_channels=16, num_classes=4)
    cfg.bbox_head.norm_cfg = dict(type='GN', num_groups=4)
    return seeded_model(cfg, 0, False)


def tiny_rtmdet(seed=0, strong_heads=False):
    return stock('RTMDet', seed, strong_heads)


def tiny_yolox(seed=0, strong_heads=False):
    model = stock('YOLOX', seed, strong_heads)
    preprocessor = model.data_preprocessor
    preprocessor.batch_augments = None  # asks a runner
    # It has none, and pictures take the precision of a mean.
    preprocessor._enable_normalize = True
    preprocessor.register_buffer('mean', torch.zeros(3, 1, 1), False)
    preprocessor.register_buffer('std', torch.full((3, 1, 1), 58.0), False)
    return model


FAMILIES = [
    tiny_classifier,
    tiny_retinanet,
    tiny_ssd,
    tiny_fcos,
    tiny_rtmdet,
    tiny_yolox,
    tiny_faster_rcnn,
]


def double_batch(model, seed=0):
    """Preprocessed pictures and truths in double precision."""
    if hasattr(model, 'head'):
        batch = classification_batch(seed=seed)
    else:
        ssd = hasattr(getattr(model, 'neck', None), 'l2_norm')
        size = 300 if ssd else 96
        batch = detection_batch(1 if ssd else 2, size, seed)
    batch = model.data_preprocessor(batch, training=True)
    for sample in batch['data_samples']:
        for truth in ('gt_instances', 'ignored_instances'):
            if truth in sample:
                boxes = sample.get(truth).bboxes
                sample.get(truth).bboxes = boxes.double()
    return dict(batch, inputs=batch['inputs'].double())
