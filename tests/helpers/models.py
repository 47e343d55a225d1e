"""Small real models for tests, and batches for them."""

import copy
from importlib.resources import files

import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules as register_mmpretrain

from .double import double_targets


def build(cfg, scope):
    """Build and initialise a model as a runner of that scope does."""
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg)
        model.init_weights()
    model.train()  # which of LAD returns nothing
    return model


def tiny_faster_rcnn(seed=0, strong_heads=False, **roi_layer):
    """A Faster R-CNN over mmdet's own base, with few channels."""
    cfg = _narrow(shipped('_base_/models/faster-rcnn_r50_fpn.py'))
    _narrow_proposals(cfg)
    extractor = cfg.roi_head.bbox_roi_extractor
    extractor.out_channels = 8
    extractor.roi_layer.update(output_size=3, **roi_layer)
    cfg.roi_head.bbox_head.update(
        in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=4
    )
    cfg.train_cfg.rcnn.sampler.num = 32
    return seeded_model(cfg, seed, strong_heads)


def tiny_cascade(seed=0, strong_heads=False):
    """A Cascade R-CNN over mmdet's own config, with few channels."""
    cfg = _narrow(shipped('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'))
    _narrow_proposals(cfg)
    extractor = cfg.roi_head.bbox_roi_extractor
    extractor.out_channels = 8
    extractor.roi_layer.output_size = 3
    for head, stage in zip(cfg.roi_head.bbox_head, cfg.train_cfg.rcnn):
        head.update(
            in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=4
        )
        stage.sampler.num = 32
    return seeded_model(cfg, seed, strong_heads)


def tiny_retinanet(seed=0, strong_heads=False):
    """A RetinaNet over mmdet's own config, with few channels."""
    cfg = _narrow(shipped('pascal_voc/retinanet_r50_fpn_1x_voc0712.py'))
    cfg.bbox_head.update(
        in_channels=8, feat_channels=8, stacked_convs=2, num_classes=4
    )
    cfg.bbox_head.anchor_generator.octave_base_scale = 2
    return seeded_model(cfg, seed, strong_heads)


def tiny_fcos(seed=0, strong_heads=False, **head):
    """An FCOS over mmdet's own config, with few channels.

    Boxes of these pictures belong to two levels.
    """
    cfg = _narrow(shipped('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'))
    cfg.bbox_head.update(
        _SMALL_HEAD,
        regress_ranges=((-1, 16), (16, 64), (64, 128), (128, 256), (256, 1e8)),
        **head,
    )
    return seeded_model(cfg, seed, strong_heads)


def tiny_atss(seed=0, strong_heads=False):
    """An ATSS over mmdet's own config, with few channels."""
    cfg = _narrow(shipped('atss/atss_r50_fpn_1x_coco.py'))
    cfg.bbox_head.update(_SMALL_HEAD)
    cfg.bbox_head.anchor_generator.octave_base_scale = 2
    return seeded_model(cfg, seed, strong_heads)


_SMALL_HEAD = dict(
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    num_classes=4,
    norm_cfg=dict(type='GN', num_groups=2, requires_grad=True),
)


def tiny_ssd(seed=0, strong_heads=False):
    """mmdet's SSD300, for images of 300 pixels, with few channels.

    All six levels and every part are there: VGG with pooling in ceil mode,
    L2 normalisation, and a head that mines hard negatives.
    """
    cfg = shipped('pascal_voc/ssd300_voc0712.py')
    # Its scale of 1 goes with pretrained weights.
    cfg.data_preprocessor.std = [58.0] * 3
    cfg.backbone.init_cfg = None
    channels = [c // _SSD_NARROWING for c in cfg.neck.out_channels]
    cfg.neck.update(in_channels=channels[:2], out_channels=channels)
    cfg.bbox_head.update(in_channels=channels, num_classes=4)
    model = seeded_model(cfg, seed, strong_heads)
    # VGG has no setting for its number of channels.
    features = model.backbone.features
    for i, layer in enumerate(features):
        if isinstance(layer, torch.nn.Conv2d):
            features[i] = _narrow_convolution(layer)
    return model


_SSD_NARROWING = 32


def _narrow_convolution(conv):
    colours = conv.in_channels == 3
    narrow = torch.nn.Conv2d(
        3 if colours else conv.in_channels // _SSD_NARROWING,
        conv.out_channels // _SSD_NARROWING,
        conv.kernel_size,
        padding=conv.padding,
        dilation=conv.dilation,
    )
    torch.nn.init.kaiming_normal_(narrow.weight)
    return narrow


def shipped(config):
    """The model of a config of mmdet's."""
    register_all_modules(init_default_scope=False)
    return Config.fromfile(str(files('mmdet') / '.mim/configs' / config)).model


def _narrow(cfg):
    """With a small residual backbone and neck of its own."""
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
    return cfg


def _narrow_proposals(cfg):
    cfg.rpn_head.update(in_channels=8, feat_channels=8)
    cfg.rpn_head.anchor_generator.scales = [2]
    cfg.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=40)


def seeded_model(cfg, seed, strong_heads):
    torch.manual_seed(seed)
    model = build(cfg, 'mmdet')
    if strong_heads:
        for name, p in model.named_parameters():
            if 'head' in name and p.ndim > 1:
                torch.nn.init.kaiming_normal_(p)
    return model


def to_float64(model):
    """In double precision all through.

    mmcv's NMS refuses it and is left out; what of mmdet rounds to single
    precision (L2Norm, distances of FCOS and ATSS) is written anew.
    """
    if 'rpn_proposal' in (getattr(model, 'train_cfg', None) or {}):
        model.train_cfg.rpn_proposal.nms = None
    if hasattr(model, 'positional_encoding'):
        model.positional_encoding.register_forward_hook(
            lambda module, args, out: out.double()
        )
    if hasattr(getattr(model, 'neck', None), 'l2_norm'):
        model.neck.l2_norm = _L2Norm(model.neck.l2_norm)
    head = getattr(model, 'bbox_head', None)
    for kind in (FCOSHead, ATSSHead):
        if type(head) is kind:
            head.__class__ = type(kind.__name__, (_Double, kind), {})
    if type(head).__name__ not in _ENOUGH and head is not None:
        kind = type(head)
        head.__class__ = type(kind.__name__, (_DoubleTargets, kind), {})
    if hasattr(model, 'teacher_model'):  # LAD's, which is no part of it
        kind = type(model)
        model.__class__ = type(kind.__name__, (_DoubleTeacher, kind), {})
        model.teacher_model.double()
    return model.double()


# Heads whose single precision is in both of what is compared.
_ENOUGH = ('RetinaHead', 'SSDHead', 'FCOSHead', 'ATSSHead')


class _DoubleTargets:
    """A head whose targets have the precision of what it predicts."""

    def loss(self, *args, **kwargs):
        with double_targets(self):
            return super().loss(*args, **kwargs)


class _DoubleTeacher:
    """A detector whose teacher makes the targets."""

    def loss(self, *args, **kwargs):
        with double_targets(self.teacher_model.bbox_head):
            return super().loss(*args, **kwargs)


class _Double:
    """A head with one scale for the distances of each level."""

    def forward_single(self, x, scale, *stride):
        distances = []
        hook = scale.register_forward_hook(
            lambda module, args, out: distances.append(out)
        )
        scores, boxes, quality = super().forward_single(x, scale, *stride)
        hook.remove()
        (exact,) = distances
        if isinstance(self, FCOSHead):
            exact = exact.exp()
        assert torch.allclose(exact.float(), boxes.float())
        return scores, exact, quality


class _L2Norm(torch.nn.Module):
    """``w x / (‖x‖ + ε)`` over channels."""

    def __init__(self, stock):
        super().__init__()
        self.weight, self.eps = stock.weight, stock.eps

    def forward(self, x):
        norm = x.pow(2).sum(dim=1, keepdim=True).sqrt() + self.eps
        return self.weight[:, None, None] * x / norm


def detection_batch(
    images=2,
    size=64,
    seed=0,
    classes=4,
    labels=None,
    dtype=torch.float,
    paths=None,
):
    """A collated batch of random pictures with three boxes each.

    ``labels`` are those of every picture; drawn at random by default. With
    ``paths`` of the pictures, one each, their objects are numbered.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator).to(dtype)

    inputs, samples = [], []
    for image in range(images):
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
        if paths is not None:
            sample.set_metainfo(dict(img_path=paths[image]))
            sample.gt_instances.object_ids = torch.tensor([7, 2, 5])
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


_TINY_CLASSIFIER = dict(
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


def tiny_classifier_config():
    """Config of that model, a new one each time: building completes it."""
    return copy.deepcopy(_TINY_CLASSIFIER)


def tiny_classifier(seed=0, classes=4, **head):
    """A residual classifier with batch normalisation and few channels."""
    register_mmpretrain(init_default_scope=False)
    torch.manual_seed(seed)
    cfg = tiny_classifier_config()
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
