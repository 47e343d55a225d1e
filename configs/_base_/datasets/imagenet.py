# mmpretrain's ImageNet, 8 processes with 32 images each. Its pipelines, but
# for damaged images, which are noticed.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'
train_pipeline = [dict(type='LoadCheckedImage'), *_base_.train_pipeline[1:]]
test_pipeline = [dict(type='LoadCheckedImage'), *_base_.test_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# No image of a test may be left out.
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='Calibration')]
test_evaluator = val_evaluator
