"""Small real models for tests, and batches for them."""

import copy
from importlib.resources import files

import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules as register_mmpretrain


def build(cfg, scope):
    """Build and initialise a model as a runner of that scope does."""
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg)
        model.init_weights()
    return model.train()


def tiny_faster_rcnn(seed=0, strong_heads=False, **roi_layer):
    """A Faster R-CNN over mmdet's own base, with few channels."""
    register_all_modules(init_default_scope=False)
    base = files('mmdet') / '.mim/configs/_base_/models/faster-rcnn_r50_fpn.py'
    cfg = Config.fromfile(str(base)).model
    cfg.backbone = dict(
        type='ResNet',
        depth=18,
        base_channels=4,
        stem_channels=4,
        norm_cfg=dict(type='BN'),
        norm_eval=False,
        zero_init_residual=False,
    )
    cfg.neck.update(in_channels=[4, 8, 16, 32], out_channels=8)
    cfg.rpn_head.update(in_channels=8, feat_channels=8)
    cfg.rpn_head.anchor_generator.scales = [2]
    extractor = cfg.roi_head.bbox_roi_extractor
    extractor.out_channels = 8
    extractor.roi_layer.update(output_size=3, **roi_layer)
    cfg.roi_head.bbox_head.update(
        in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=4
    )
    cfg.train_cfg.rcnn.sampler.num = 32
    cfg.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=40)
    torch.manual_seed(seed)
    model = build(cfg, 'mmdet')
    if strong_heads:
        for name, p in model.named_parameters():
            if 'head' in name and p.ndim > 1:
                torch.nn.init.kaiming_normal_(p)
    return model


def to_float64(model):
    """In double precision, for which mmcv's NMS is left out."""
    if hasattr(model, 'rpn_head'):
        model.train_cfg.rpn_proposal.nms = None
    return model.double()


def detection_batch(
    images=2, size=64, seed=0, classes=4, labels=None, dtype=torch.float
):
    """A collated batch of random pictures with three boxes each.

    ``labels`` are those of every picture; drawn at random by default.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator).to(dtype)

    inputs, samples = [], []
    for _ in range(images):
        inputs.append(rand(3, size, size) * 255)
        corner = rand(3, 2) * size / 2
        extent = 8 + rand(3, 2) * (size / 2 - 8)
        drawn = torch.randint(0, classes, (3,), generator=generator)
        if labels is not None:
            drawn = torch.tensor(labels)
        sample = DetDataSample(
            gt_instances=InstanceData(
                bboxes=torch.cat([corner, corner + extent], dim=1),
                labels=drawn,
            ),
            ignored_instances=InstanceData(
                bboxes=torch.zeros(0, 4, dtype=dtype), labels=drawn[:0]
            ),
        )
        shape = (size, size)
        sample.set_metainfo(
            dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


TINY_CLASSIFIER = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3
    ),
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=4,
        base_channels=4,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        zero_init_residual=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=4,
        in_channels=8,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)


def tiny_classifier(seed=0, classes=4, **head):
    """A residual classifier with batch normalisation and few channels."""
    register_mmpretrain(init_default_scope=False)
    torch.manual_seed(seed)
    cfg = copy.deepcopy(TINY_CLASSIFIER)
    cfg['head'].update(num_classes=classes, **head)
    return build(cfg, 'mmpretrain')


def classification_batch(labels=(0, 1, 2, 3), size=8, seed=0, keys=None):
    """A collated batch of random pictures with the given labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.rand(3, size, size, generator=generator) * 255 for _ in labels
    ]
    samples = [DataSample().set_gt_label(label) for label in labels]
    for key, sample in zip(keys or range(len(labels)), samples):
        sample.set_metainfo(dict(sample_idx=key))
    return dict(inputs=inputs, data_samples=samples)


def trainable(model):
    """Every weight that requires a gradient, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}
