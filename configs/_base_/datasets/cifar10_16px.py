# 4,000 images of CIFAR-10 at 16x16, 3,000 to test, for runs of minutes; in
# pairs of a class.
_base_ = './cifar10.py'
shrink = dict(type='Resize', scale=(16, 16), interpolation='area')
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    batch_sampler=dict(type='ClassPairBatchSampler', drop_last=True),
    dataset=dict(
        indices=4000,
        pipeline=[
            shrink,
            dict(type='RandomCrop', crop_size=16, padding=2),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(indices=3000, pipeline=[shrink, dict(type='PackInputs')]),
)
test_dataloader = val_dataloader
