# Tiny-ImageNet at its own 64x64, in batches of 128.
data_preprocessor = dict(
    num_classes=200,
    # ImageNet's, RGB.
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='RandomCrop', crop_size=64, padding=8),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadCheckedImage'), dict(type='PackInputs')]
data_root = 'data/tiny-imagenet-200'
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(
        type='TinyImageNet',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(
        type='TinyImageNet',
        data_root=data_root,
        split='val',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='Calibration')]
test_evaluator = val_evaluator
