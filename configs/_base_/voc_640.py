# Pascal VOC 2007 + 2012 at 640x640 for detectors that are made for squares,
# and a hook that scores them. Images are not mixed, as RTMDet and YOLOX do it:
# a mixed object is nobody's to remember. What is done instead is ours.
_base_ = [
    'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

__size = (640, 640)
__pad = dict(type='Pad', size=__size, pad_val=dict(img=(114, 114, 114)))
__train = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomResize',
        scale=__size,
        ratio_range=(0.5, 1.5),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=__size),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    __pad,
    dict(type='PackDetInputs'),
]
__test = list(_base_.test_pipeline)
__test[1] = dict(type='Resize', scale=__size, keep_ratio=True)
__test.insert(2, __pad)
__repeated = _base_.train_dataloader.dataset
train_dataloader = dict(
    batch_size=16,
    # CS-KD compares objects of one class: each image gets a partner image.
    batch_sampler=dict(_delete_=True, type='ClassPairBatchSampler'),
    dataset=dict(
        dataset=dict(
            datasets=[
                dict(part, pipeline=__train)
                for part in __repeated.dataset.datasets
            ]
        )
    ),
)
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=__test))
test_dataloader = val_dataloader
# As VOC defines it, with the AP of each class.
val_evaluator = dict(
    _delete_=True, type='VOCDetectionMetric', eval_mode='11points'
)
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2),
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        # The config says with which lr.
        criterion=dict(type='ProsPr', steps=3),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # Few objects reach these, or they start with a standard deviation of
        # 0.01: a global ranking would leave next to nothing of them.
        exclude=['neck.out_convs.*', 'bbox_head.*'],
        # Nor of the way to the last level, where the floor is what is kept.
        allocation=dict(type='global', min_density=0.001),
        # One draw of the data gives a mask that is mostly noise.
        draws=8,
    ),
)
# Weights are averaged as both do it; the average has the zeros of its network.
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,
        update_buffers=True,
        priority=49,
    )
]
randomness = dict(seed=0)
