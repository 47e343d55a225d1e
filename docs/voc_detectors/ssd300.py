# SSD's head on the subset of Pascal VOC, small and from scratch: a ResNet-18
# in place of its VGG-16, which is too slow for a CPU.
_base_ = ['../../configs/voc_ssd300_epsd.py', './subset.py']

__channels = (64, 128, 128, 64, 64, 64)
model = dict(
    # The scale that a net without pretrained weights starts from.
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _base_.subset.backbone,
        _delete_=True,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        # Strides of 8 and 16, as in SSD300.
        out_indices=(1, 2),
    ),
    neck=dict(in_channels=__channels[:2], out_channels=__channels),
    bbox_head=dict(in_channels=__channels),
)
# SSD's own augmentation, at its own 300x300.
__training = _base_.train_dataloader.dataset.dataset.datasets[0].pipeline
train_dataloader = _base_.subset.train_dataloader
for __part in train_dataloader.dataset.datasets:
    __part.pipeline = __training
val_dataloader = _base_.subset.val_dataloader
val_dataloader.dataset.pipeline = _base_.test_pipeline
test_dataloader = val_dataloader
val_evaluator = _base_.subset.val_evaluator
test_evaluator = val_evaluator
default_hooks = _base_.subset.default_hooks
optim_wrapper = _base_.subset.optim_wrapper
train_cfg = _base_.subset.train_cfg
param_scheduler = _base_.subset.param_scheduler
env_cfg = _base_.subset.env_cfg
