# WRN-20-8 as DLB trains it: widened bottlenecks. That of the paper on wide
# networks is dict(type='WideResNet', depth=22, widen_factor=8), 512 channels.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='WideBottleneckResNet',
        depth=20,
        widen_factor=8,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
