"""ResNet-20 and DLB on every fifth image of CIFAR-10 (JPEG q75)."""

_base_ = [
    '../../configs/_base_/models/resnet32_cifar.py',
    '../../configs/_base_/methods/dlb.py',
]
model = dict(backbone=dict(depth=20), head=dict(num_classes=10))
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)
test_pipeline = [dict(type='LoadCheckedImage'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=128,
    batch_sampler=dict(type='OverlapBatchSampler'),
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root='data/cifar10-jpeg/cifar10/train',
        indices=list(range(0, 49400, 5)),
        pipeline=[
            dict(type='LoadCheckedImage'),
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root='data/cifar10-jpeg/cifar10/test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='Calibration')]
test_evaluator = val_evaluator

# Too few epochs for the authors' recipe: one cycle instead.
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=4,
    by_epoch=True,
    convert_to_iter_based=True,
)
default_hooks = dict(logger=dict(interval=20), epsd=dict(compare_plain=True))
