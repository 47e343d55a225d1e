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

train_dataloader = dict(
    batch_size=8, num_workers=1, dataset=_base_.subset.train_dataset
)
val_dataloader = dict(num_workers=1, dataset=_base_.subset.val_dataset)
test_dataloader = val_dataloader
val_evaluator = dict(eval_mode='area')
test_evaluator = val_evaluator
default_hooks = dict(epsd=_base_.subset.epsd, logger=dict(interval=20))
optim_wrapper = _base_.subset.optim_wrapper
__epochs = _base_.subset.max_epochs
train_cfg = dict(max_epochs=__epochs, val_interval=__epochs)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1e-3,
        total_steps=__epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
