# A vision transformer small enough for statistics: a minute or so a run on one
# core. 4,000 images of CIFAR-10 at 16x16, 3,000 to test, patches of 4x4.
# Sizes, schedule and learning rate are ours; it is no CIFAR-10 result.
_base_ = [
    '../_base_/models/vit_small_patch4_32.py',
    '../_base_/datasets/cifar10_16px.py',
    '../_base_/methods/cs_kd.py',
]
model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=64,
            num_layers=4,
            num_heads=4,
            feedforward_channels=256,
        ),
        img_size=16,
    ),
    head=dict(num_classes=10, in_channels=64),
)
train_cfg = dict(max_epochs=30, val_interval=30)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=3, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=3, end=30, by_epoch=True),
]
# Added to the patches, not multiplied with them.
default_hooks = dict(
    epsd=dict(exclude=['backbone.pos_embed']), checkpoint=dict(interval=10)
)
