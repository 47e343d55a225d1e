"""One-stage detectors of every family that shows its objects, few channels."""

import torch

from .models import seeded_model, shipped
from .stock import stock


def tiny_dense(name, seed=0, strong_heads=True):
    """The detector of this name, for pictures of 64 pixels or more."""
    if name == 'YOLOv3':
        return _yolov3(seed, strong_heads)
    if name == 'CenterNet':
        return _centernet(seed, strong_heads)
    changes = {}
    if name in ('CondInst', 'DDOD', 'GFL', 'LAD', 'PAA', 'TOOD', 'VFNet'):
        # A group of one value, as on the last level, has no variance.
        changes['norm_cfg'] = dict(type='GN', num_groups=4)
    if name == 'DDOD':
        changes['use_dcn'] = False
    return stock(name, seed, strong_heads, **changes)


def _yolov3(seed, strong_heads):
    """With a small ResNet, as its Darknet has no number of channels."""
    cfg = shipped('yolo/yolov3_d53_8xb8-ms-608-273e_coco.py')
    cfg.backbone = _resnet(out_indices=(1, 2, 3))
    cfg.neck.update(in_channels=[32, 16, 8], out_channels=[16, 8, 4])
    cfg.bbox_head.update(
        num_classes=4, in_channels=[16, 8, 4], out_channels=[16, 8, 4]
    )
    return seeded_model(cfg, seed, strong_heads)


def _centernet(seed, strong_heads):
    cfg = shipped('centernet/centernet_r18_8xb16-crop512-140e_coco.py')
    cfg.backbone = _resnet(out_indices=(3,))
    cfg.neck.update(in_channels=32, num_deconv_filters=(16, 8, 8))
    cfg.bbox_head.update(in_channels=8, feat_channels=8, num_classes=4)
    return seeded_model(cfg, seed, strong_heads)


def _resnet(**options):
    return dict(
        type='ResNet',
        depth=18,
        base_channels=4,
        stem_channels=4,
        norm_cfg=dict(type='BN'),
        norm_eval=False,
        zero_init_residual=False,
        **options,
    )


def without_batch_statistics(model):
    """What is predicted for a picture does not depend on the others."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model
