# The convolutions of VGG-19 with batch normalisation and one linear layer, as
# pruning at initialisation is compared on, at 32x32 or 64x64.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VGG',
        depth=19,
        norm_cfg=dict(type='BN'),
        # No ImageNet classifier of 4096 channels.
        num_classes=-1,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
