# EPSD on Faster R-CNN R50-FPN and Pascal VOC 2007 + 2012: score, prune to a
# tenth of the weights before training, train with self-distillation.
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        # ProsPr scored on the self-distillation objective is EPSD. Its usual
        # lr of 0.1 is for classifiers: a detector's inner steps diverge.
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        # Of the three losses, this one had the highest AP in the short runs of
        # docs/voc_detectors, by less than such runs can tell apart.
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # These start so small (standard deviation 0.01 and 0.001), or see so
        # few objects, that a global ranking would remove them whole.
        exclude=['neck.fpn_convs.*', 'rpn_head.*', '*.fc_cls.*', '*.fc_reg.*'],
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
