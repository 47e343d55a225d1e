# EPSD on RetinaNet R50-FPN and Pascal VOC 2007 + 2012: score, prune to a tenth
# of the weights before training, train with self-distillation.
_base_ = 'mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        # A detector's inner steps diverge with ProsPr's usual lr of 0.1.
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # These start with a standard deviation of 0.01, or see so few objects,
        # that a global ranking would remove them whole.
        exclude=['neck.fpn_convs.*', 'bbox_head.*'],
        # A batch of this config has 2 images: average 4 for a step.
        batches_per_step=4,
        # One draw of the data gives a mask that is mostly noise.
        draws=8,
    )
)
# CS-KD compares objects of one class: each image gets a partner image.
train_dataloader = dict(
    batch_sampler=dict(
        type='ClassPairBatchSampler',
        base=dict(type='AspectRatioBatchSampler'),
    )
)
# As VOC defines it, with the AP of each class.
val_evaluator = dict(
    _delete_=True, type='VOCDetectionMetric', eval_mode='11points'
)
test_evaluator = val_evaluator
randomness = dict(seed=0)
