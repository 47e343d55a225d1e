# A whole detection set that one core trains on in ten minutes. The detector
# is small and from scratch; its sizes, the schedule and the learning rate are
# ours.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/datasets/bccd.py',
]
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        depth=18,
        # Nothing is pretrained: all stages learn, normalisation included, and
        # no residual branch starts at zero, where no gradient would rank it.
        init_cfg=None,
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Cells of 20 to 100 pixels: half of the usual anchor size.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        # Half of the few RoIs may be objects, of which an image has 14.
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
# Without worker processes a killed cell goes on as if it had not been killed.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    batch_sampler=dict(
        _delete_=True,
        type='ClassPairBatchSampler',
        base=dict(type='AspectRatioBatchSampler'),
    ),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
max_epochs = 6
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# One cycle of AdamW learns in a few epochs what SGD's steps do not.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10),
)
param_scheduler = dict(
    type='OneCycleLR',
    eta_max=1e-3,
    total_steps=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # As in the configs of VOC: they start near zero, or see few objects.
        exclude=['neck.fpn_convs.*', 'rpn_head.*', '*.fc_cls.*', '*.fc_reg.*'],
        # At 98 % a global ranking leaves convolutions of the last stage one
        # weight of two million, or none. The floor is below what it keeps of
        # them at 90 %, and holds for all methods alike.
        allocation=dict(type='global', min_density=0.001),
        # Scoring with 8, the default, would take a fifth of a run.
        draws=4,
        bad_boxes='drop',
    ),
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
