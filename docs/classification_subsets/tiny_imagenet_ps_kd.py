"""A narrow ResNet-18 and PS-KD on 40 classes of Tiny-ImageNet, at 64x64."""

_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../../configs/_base_/datasets/tiny_imagenet.py',
    '../../configs/_base_/methods/ps_kd.py',
]
model = dict(
    backbone=dict(
        stem_channels=32,
        base_channels=32,
        zero_init_residual=False,
    ),
    head=dict(num_classes=40, in_channels=256),
)
data_preprocessor = dict(num_classes=40)
train_dataloader = dict(num_workers=0)
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)

# Too few epochs for the authors' recipe: one cycle instead.
train_cfg = dict(max_epochs=8, val_interval=8)
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=8,
    by_epoch=True,
    convert_to_iter_based=True,
)
default_hooks = dict(
    logger=dict(interval=20),
    epsd=dict(compare_plain=True),
)
