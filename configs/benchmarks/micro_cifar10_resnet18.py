# A set-up small enough for statistics: about five minutes a run on one core,
# and over-fitting, so that a regulariser has something to do. 4,000 images of
# CIFAR-10 shrunk to 16x16, 3,000 to test, a ResNet-18 a quarter as wide. The
# sizes, the schedule and the learning rate are ours; it is no CIFAR-10 result.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_16px.py',
    '../_base_/methods/cs_kd.py',
]
model = dict(
    backbone=dict(
        base_channels=16, stem_channels=16, zero_init_residual=False
    ),
    head=dict(num_classes=10, in_channels=128),
)
train_cfg = dict(max_epochs=40, val_interval=40)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=5e-4))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=40, by_epoch=True
)
default_hooks = dict(epsd=dict(sparsity=0.95), checkpoint=dict(interval=10))
