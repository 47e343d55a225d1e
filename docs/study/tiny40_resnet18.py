# A third of the images of 40 classes of Tiny-ImageNet, shrunk to 32x32, and a
# ResNet-18 a quarter as wide: 84 images a class, so that it over-fits. Sizes,
# schedule and learning rate are ours; it is no Tiny-ImageNet result.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    '../../configs/_base_/datasets/tiny_imagenet.py',
    '../../configs/_base_/methods/cs_kd.py',
]
model = dict(
    backbone=dict(
        base_channels=16, stem_channels=16, zero_init_residual=False
    ),
    head=dict(num_classes=40, in_channels=128),
)
data_preprocessor = dict(num_classes=40)
load = dict(type='LoadCheckedImage')
shrink = dict(type='Resize', scale=(32, 32), interpolation='area')
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    batch_sampler=dict(type='ClassPairBatchSampler', drop_last=True),
    dataset=dict(
        # They are listed class by class.
        indices=list(range(0, 10000, 3)),
        pipeline=[
            load,
            shrink,
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(pipeline=[load, shrink, dict(type='PackInputs')]),
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=40, val_interval=40)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=5e-4))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=40, by_epoch=True
)
default_hooks = dict(epsd=dict(sparsity=0.95), checkpoint=dict(interval=10))
