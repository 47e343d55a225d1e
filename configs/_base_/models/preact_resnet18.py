# Pre-activation ResNet-18 as CS-KD and PS-KD train it, at 32x32 or 64x64.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='PreActResNet',
        depth=18,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
