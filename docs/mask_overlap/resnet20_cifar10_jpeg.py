"""ResNet-20 on CIFAR-10 (JPEG q75), in folders by class.

Only what scoring needs: nothing here says how to train.
"""

custom_imports = dict(imports=['epsd_mm', 'epsd_mm.models'])
default_scope = 'mmpretrain'

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CIFARResNet',
        depth=20,
        init_cfg=[dict(type='Kaiming', layer='Conv2d')],
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='ClassPairBatchSampler'),
    dataset=dict(
        type='CustomDataset',
        data_root='data/cifar10-jpeg/cifar10/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        criterion=dict(type='ProsPr', steps=3, lr=0.1),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
    )
)
