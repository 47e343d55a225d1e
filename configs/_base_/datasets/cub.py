# CUB-200-2011 at 224x224, in CS-KD's batches of 32.
_base_ = 'mmpretrain::_base_/datasets/cub_bs8_448.py'
train_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadCheckedImage'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32, num_workers=4, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    # No image of a test may be left out.
    dataset=dict(pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='Calibration')]
test_evaluator = val_evaluator
