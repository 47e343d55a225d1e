"""Detectors from mmdet's own configs, with few channels."""

import copy

from mmengine.config import Config, ConfigDict

from .models import seeded_model, shipped

_DENSE = dict(in_channels=32, feat_channels=32, stacked_convs=1)
_ROI = dict(in_channels=32, fc_out_channels=16, roi_feat_size=3, num_classes=4)

#: Config, and what its head is told.
STOCK = {
    'VFNet': ('vfnet/vfnet_r50_fpn_1x_coco.py', _DENSE),
    'DDOD': ('ddod/ddod_r50_fpn_1x_coco.py', _DENSE),
    'RepPoints': (
        'reppoints/reppoints-moment_r50_fpn_1x_coco.py',
        dict(_DENSE, point_feat_channels=32),
    ),
    'GA-RetinaNet': (
        'guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py',
        _DENSE,
    ),
    'TOOD': ('tood/tood_r50_fpn_1x_coco.py', dict(_DENSE, stacked_convs=2)),
    'YOLOX': ('yolox/yolox_tiny_8xb8-300e_coco.py', {}),
    'RTMDet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', {}),
    'DCN': ('dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py', _ROI),
    'ConvWS': ('gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py', _ROI),
    'Dynamic R-CNN': ('dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py', _ROI),
    'Libra R-CNN': ('libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py', _ROI),
}


#: The same, of detectors that are nothing special to scoring.
PLAIN = {
    'FCOS': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', _DENSE),
    'ATSS': ('atss/atss_r50_fpn_1x_coco.py', _DENSE),
    'GFL': ('gfl/gfl_r50_fpn_1x_coco.py', _DENSE),
    'DETR': ('detr/detr_r18_8xb2-500e_coco.py', {}),
    'YOLOv3': ('yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py', {}),
}


#: One-stage detectors whose objects are seen, see helpers/dense.py.
DENSE = {
    'FoveaBox': ('foveabox/fovea_r50_fpn_4xb4-1x_coco.py', _DENSE),
    'FSAF': ('fsaf/fsaf_r50_fpn_1x_coco.py', _DENSE),
    'FreeAnchor': ('free_anchor/freeanchor_r50_fpn_1x_coco.py', _DENSE),
    'LAD': ('lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py', _DENSE),
    'PAA': ('paa/paa_r50_fpn_1x_coco.py', _DENSE),
    'SABL': ('sabl/sabl-retinanet_r50_fpn_1x_coco.py', _DENSE),
    'PISA': ('pisa/retinanet-r50_fpn_pisa_1x_coco.py', _DENSE),
    'GHM': ('ghm/retinanet_r50_fpn_ghm-1x_coco.py', _DENSE),
    'Libra': ('libra_rcnn/libra-retinanet_r50_fpn_1x_coco.py', _DENSE),
    'CondInst': (
        'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
        _DENSE,
    ),
    'RTMDet-Ins': ('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', {}),
    'YOLOF': ('yolof/yolof_r50-c5_8xb8-1x_coco.py', dict(in_channels=32)),
}


#: Likewise, of objects that are not seen.
UNSEEN = {
    'AutoAssign': (
        'autoassign/autoassign_r50-caffe_fpn_1x_coco.py',
        dict(_DENSE, norm_cfg=dict(type='GN', num_groups=4)),
    ),
}


def stock(name, seed=0, strong_heads=False, **changes):
    """The detector of this name, for pictures of 96 pixels or more."""
    return seeded_model(stock_config(name, **changes), seed, strong_heads)


def stock_config(name, **changes):
    """Its config; ``changes`` are of its head."""
    config, head = (STOCK | PLAIN | DENSE | UNSEEN)[name]
    head = dict(head, **changes)
    cfg = shipped(config)
    if cfg.type in ('RTMDet', 'YOLOX'):
        _narrow_csp(cfg, head)
    elif name == 'DETR':
        _narrow_queries(cfg)
    elif name == 'YOLOv3':
        _without_pretrained(cfg)
        cfg.bbox_head.num_classes = 4
    else:
        _narrow(cfg, head)
    return cfg


def _narrow(cfg: Config, head: dict) -> None:
    _without_pretrained(cfg)
    cfg.backbone.update(
        base_channels=4,
        stem_channels=4,
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
    )
    necks = cfg.neck if isinstance(cfg.neck, list) else [cfg.neck]
    widths = [16, 32, 64, 128]
    if cfg.type == 'YOLOF':
        widths, cfg.neck.block_mid_channels = 128, 8
    necks[0].update(in_channels=widths, out_channels=32)
    if len(necks) > 1:
        necks[1].in_channels = 32
    for part in (cfg.backbone, necks[0]):
        if 'num_groups' in (part.get('norm_cfg') or {}):
            part.norm_cfg.num_groups = 4
    if cfg.type == 'LAD':
        _narrow_teacher(cfg, head)
    if cfg.get('bbox_head', {}).get('type') == 'DDODHead':
        # Its deformable convolution wants three cells on every level.
        necks[0].num_outs = 3
        cfg.bbox_head.anchor_generator.strides = [8, 16, 32]
    if 'bbox_head' in cfg:
        cfg.bbox_head.update(dict(num_classes=4) | head)
        if cfg.type == 'CondInst':
            features = cfg.mask_head.mask_feature_head
            features.update(in_channels=32, feat_channels=8)
        return
    cfg.rpn_head.update(in_channels=32, feat_channels=8)
    cfg.rpn_head.anchor_generator.scales = [2]
    extractor = cfg.roi_head.bbox_roi_extractor
    extractor.out_channels = 32
    extractor.roi_layer.output_size = 3
    head = dict(head)
    if 'conv_out_channels' in cfg.roi_head.bbox_head:
        head.update(conv_out_channels=8)
        cfg.roi_head.bbox_head.norm_cfg.num_groups = 4
    cfg.roi_head.bbox_head.update(head)
    cfg.train_cfg.rcnn.sampler.num = 32
    cfg.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=40)


def _narrow_teacher(cfg: Config, head: dict) -> None:
    cfg.teacher_ckpt = None
    for part in ('backbone', 'neck'):
        cfg[f'teacher_{part}'] = copy.deepcopy(cfg[part])
    cfg.teacher_bbox_head.update(dict(num_classes=4) | head)


def _narrow_csp(cfg: Config, head: dict) -> None:
    _without_pretrained(cfg)
    norm = dict(type='BN')
    cfg.backbone.update(widen_factor=0.125, norm_cfg=norm)
    cfg.neck.update(in_channels=[32, 64, 128], out_channels=16, norm_cfg=norm)
    cfg.bbox_head.update(
        in_channels=16, feat_channels=16, num_classes=4, norm_cfg=norm
    )
    cfg.bbox_head.update(head)


def _narrow_queries(cfg: Config) -> None:
    _without_pretrained(cfg)
    cfg.backbone.update(base_channels=4, stem_channels=4, frozen_stages=-1)
    cfg.neck.update(in_channels=[32], out_channels=32)
    cfg.num_queries = cfg.test_cfg.max_per_img = 20
    cfg.positional_encoding.num_feats = 16
    for part in (cfg.encoder, cfg.decoder):
        part.num_layers = 1
        for attention in ('self_attn_cfg', 'cross_attn_cfg'):
            if attention in part.layer_cfg:
                part.layer_cfg[attention].embed_dims = 32
        part.layer_cfg.ffn_cfg.update(embed_dims=32, feedforward_channels=32)
    cfg.bbox_head.update(embed_dims=32, num_classes=4)


def _without_pretrained(cfg: ConfigDict) -> None:
    cfg.backbone.pop('init_cfg', None)
