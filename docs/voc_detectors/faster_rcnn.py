# Faster R-CNN on the subset of Pascal VOC, small and from scratch.
_base_ = ['../../configs/voc_faster_rcnn_epsd.py', './subset.py']

model = dict(
    backbone=_base_.subset.backbone,
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(
        in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=14),
        bbox_head=dict(in_channels=64, fc_out_channels=128),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)

train_dataloader = _base_.subset.train_dataloader
val_dataloader = _base_.subset.val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.subset.val_evaluator
test_evaluator = val_evaluator
default_hooks = _base_.subset.default_hooks
optim_wrapper = _base_.subset.optim_wrapper
train_cfg = _base_.subset.train_cfg
param_scheduler = _base_.subset.param_scheduler
env_cfg = _base_.subset.env_cfg
