"""A narrow ResNet-18 and CS-KD on 40 of CUB's 200 species, at 112x112."""

_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../../configs/_base_/datasets/cub.py',
    '../../configs/_base_/methods/cs_kd.py',
]
model = dict(
    backbone=dict(
        stem_channels=32,
        base_channels=32,
        zero_init_residual=False,
    ),
    head=dict(num_classes=200, in_channels=256),
)
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='RandomResizedCrop', scale=112, crop_ratio_range=(0.4, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='ResizeEdge', scale=128, edge='short'),
    dict(type='CenterCrop', crop_size=112),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    num_workers=0,
    batch_sampler=dict(type='ClassPairBatchSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Too few epochs for the authors' recipe: one cycle instead.
train_cfg = dict(max_epochs=20, val_interval=20)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=20,
    by_epoch=True,
    convert_to_iter_based=True,
)
default_hooks = dict(
    logger=dict(interval=10),
    epsd=dict(sd_loss=dict(loss_weight=3.0), compare_plain=True),
)
