"""Builders of one small network a family, and a batch for each."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from mmdet.models.dense_heads import rtmdet_head
from mmdet.models.task_modules.assigners import (
    dynamic_soft_label_assigner,
    sim_ota_assigner,
)

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


def tiny_rtmdet():
    return stock('RTMDet')


def tiny_yolox():
    return stock('YOLOX')


@contextmanager
def double_targets(model):
    """Let targets be what predictions are: mmdet has single precision.

    That is of the heads that assign targets by their predictions.
    """
    modules = (dynamic_soft_label_assigner, rtmdet_head, sim_ota_assigner)
    head = rtmdet_head.RTMDetHead
    with ExitStack() as patches:
        if _assigns_by_predictions(model):
            for module in modules:
                patches.enter_context(patch.object(module, 'torch', _Double()))
            for owner, name, value in (
                (torch.Tensor, 'float', torch.Tensor.double),
                (head, 'get_anchors', _in_double(head.get_anchors)),
            ):
                patches.enter_context(patch.object(owner, name, value))
        yield


def _assigns_by_predictions(model):
    assigner = getattr(getattr(model, 'bbox_head', None), 'assigner', None)
    return type(assigner).__module__.endswith(
        ('sim_ota_assigner', 'dynamic_soft_label_assigner')
    )


def _in_double(get_anchors):
    def anchors(*args, **kwargs):
        levels, flags = get_anchors(*args, **kwargs)
        return [[a.double() for a in image] for image in levels], flags

    return anchors


class _Double:
    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


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
        model.data_preprocessor.batch_augments = None  # asks a runner
    batch = model.data_preprocessor(batch, training=True)
    for sample in batch['data_samples']:
        for truth in ('gt_instances', 'ignored_instances'):
            if truth in sample:
                boxes = sample.get(truth).bboxes
                sample.get(truth).bboxes = boxes.double()
    return dict(batch, inputs=batch['inputs'].double())
