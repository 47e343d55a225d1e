# RetinaNet on the subset of Pascal VOC, small and from scratch.
_base_ = ['../../configs/voc_retinanet_epsd.py', './subset.py']

model = dict(
    backbone=_base_.subset.backbone,
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        anchor_generator=dict(octave_base_scale=3),
    ),
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
