# The narrow ResNet-32 of He et al. for 32x32 images, as DLB trains it.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CIFARResNet',
        depth=32,
        zero_init_residual=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
