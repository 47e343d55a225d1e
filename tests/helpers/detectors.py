"""Every kind of detector that self-distillation sees, and pictures for it."""

import torch

from .families import tiny_rtmdet, tiny_yolox
from .models import (
    detection_batch,
    tiny_atss,
    tiny_cascade,
    tiny_faster_rcnn,
    tiny_fcos,
    tiny_retinanet,
    tiny_ssd,
)
from .queries import (
    tiny_conditional_detr,
    tiny_dab_detr,
    tiny_ddq,
    tiny_deformable_detr,
    tiny_detr,
    tiny_dino,
    tiny_sparse,
)

SIGMOID = [
    tiny_retinanet,
    tiny_fcos,
    tiny_atss,
    tiny_rtmdet,
    tiny_yolox,
    tiny_dino,
    tiny_sparse,
]
DETECTORS = [tiny_faster_rcnn, tiny_cascade, tiny_ssd, *SIGMOID]
#: Relatives, of which less is tried.
KIN = [
    tiny_detr,
    tiny_conditional_detr,
    tiny_dab_detr,
    tiny_deformable_detr,
    tiny_ddq,
]


def lively(build):
    """With predictions that differ, and several proposals an object.

    Those of an untrained network overlap little with anything.
    """
    model = build(strong_heads=True)
    if hasattr(model, 'roi_head'):
        assigners = model.roi_head.bbox_assigner
        if not isinstance(assigners, list):
            assigners = [assigners]
        for assigner in assigners:
            assigner.pos_iou_thr = assigner.neg_iou_thr = 0.2
            assigner.min_pos_iou = 0.2
    head = getattr(model, 'bbox_head', None)
    for boxes in getattr(head, 'rtm_reg', ()):
        torch.nn.init.ones_(boxes.bias)
    for boxes in getattr(head, 'multi_level_conv_reg', ()):
        torch.nn.init.constant_(boxes.bias, 0.7)
        boxes.weight.data *= 0.1
    return model


def pictures(build, paths=('0.jpg', '1.jpg', '2.jpg'), **options):
    """A batch of pictures of a size that the detector takes."""
    size = 300 if build is tiny_ssd else 64
    batch = detection_batch(len(paths), size, paths=paths, **options)
    if build is tiny_atss:  # its targets have the precision of anchors
        for sample in batch['data_samples']:
            truth = sample.gt_instances
            truth.bboxes = truth.bboxes.float()
    return batch
