"""Detectors whose queries are matched to objects, with few channels."""

from mmengine.config import ConfigDict

from .models import seeded_model, shipped

#: Of the configs of mmdet.
_NARROW = dict(
    embed_dims=16,
    num_heads=2,
    feedforward_channels=12,
    num_feats=8,
    proposal_feature_channel=16,
    num_proposals=6,
    num_classes=4,
    dropout=0.0,
    ffn_drop=0.0,
)


def tiny_detr(seed=0, strong_heads=False):
    config = 'detr/detr_r50_8xb2-150e_coco.py'
    return _query_model(config, seed, strong_heads)


def tiny_conditional_detr(seed=0, strong_heads=False):
    """As wide as mmdet has it: its sines are of that number."""
    config = 'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'
    return _query_model(config, seed, strong_heads, width=256)


def tiny_dab_detr(seed=0, strong_heads=False):
    config = 'dab_detr/dab-detr_r50_8xb2-50e_coco.py'
    return _query_model(config, seed, strong_heads)


def tiny_deformable_detr(seed=0, strong_heads=False):
    """In two stages: its encoder tells objects from background."""
    config = 'deformable-detr-refine-twostage_r50_16xb2-50e_coco.py'
    config = f'deformable_detr/{config}'
    return _query_model(config, seed, strong_heads, width=256)


def tiny_dino(seed=0, strong_heads=False):
    return seeded_model(dino_config(), seed, strong_heads)


def dino_config():
    return _query_config('dino/dino-4scale_r50_8xb2-12e_coco.py')


def tiny_ddq(seed=0, strong_heads=False):
    config = 'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py'
    return _query_model(config, seed, strong_heads)


def tiny_sparse(seed=0, strong_heads=False):
    config = 'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py'
    return _sparse_model(config, seed, strong_heads)


def tiny_queryinst(seed=0, strong_heads=False):
    config = 'queryinst/queryinst_r50_fpn_1x_coco.py'
    return _sparse_model(config, seed, strong_heads)


def _query_model(config, seed, strong_heads, width=16):
    return seeded_model(_query_config(config, width), seed, strong_heads)


def _query_config(config, width=16):
    return narrow_queries(shipped(config), width)


def narrow_queries(cfg, width=16):
    """The config of a DETR or its kin, in place."""
    _narrow(cfg, dict(_NARROW, embed_dims=width, num_feats=width // 2))
    levels = cfg.backbone.out_indices
    cfg.backbone = _backbone(levels)
    cfg.neck.update(in_channels=[4 * 2**i for i in levels], out_channels=width)
    if cfg.neck.norm_cfg:
        cfg.neck.norm_cfg.num_groups = 4
    for part in (cfg.encoder, cfg.decoder):
        part.num_layers = 2
        for name in ('self_attn_cfg', 'cross_attn_cfg'):
            if name in part.layer_cfg:
                part.layer_cfg[name].num_heads = 2
    cfg.bbox_head.embed_dims = width
    cfg.num_queries = 6
    if 'dn_cfg' in cfg:
        cfg.dn_cfg.group_cfg.num_dn_queries = 4
    return cfg


def _sparse_model(config, seed, strong_heads):
    cfg = shipped(config)
    _narrow(cfg, _NARROW)
    cfg.backbone = _backbone((0, 1, 2, 3))
    cfg.neck.update(in_channels=[4, 8, 16, 32], out_channels=16)
    roi_head = cfg.roi_head
    roi_head.update(num_stages=2, stage_loss_weights=[1.0, 0.5])
    roi_head.bbox_head = roi_head.bbox_head[:2]
    for extractor in ('bbox_roi_extractor', 'mask_roi_extractor'):
        if extractor in roi_head:
            roi_head[extractor].out_channels = 16
    for head in roi_head.bbox_head:
        head.in_channels = 16
        head.dynamic_conv_cfg.update(
            in_channels=16, feat_channels=4, out_channels=16
        )
    if 'mask_head' in roi_head:
        roi_head.mask_head = roi_head.mask_head[:2]
        for head in roi_head.mask_head:
            head.update(in_channels=16, conv_out_channels=8, num_convs=1)
            head.dynamic_conv_cfg.update(
                in_channels=16, feat_channels=4, out_channels=16
            )
    cfg.train_cfg.rcnn = cfg.train_cfg.rcnn[:2]
    return seeded_model(cfg, seed, strong_heads)


def _backbone(levels):
    return dict(
        type='ResNet',
        depth=18,
        base_channels=4,
        stem_channels=4,
        out_indices=levels,
        norm_cfg=dict(type='BN'),
        norm_eval=False,
        zero_init_residual=False,
    )


def _narrow(part, sizes):
    if isinstance(part, (list, tuple)):
        for each in part:
            _narrow(each, sizes)
    if isinstance(part, ConfigDict):
        for name, value in part.items():
            if name in sizes:
                part[name] = sizes[name]
            _narrow(value, sizes)
