# EPSD on SSD300 and Pascal VOC 2007 + 2012: score, prune to a tenth of the
# weights before training, train with self-distillation.
_base_ = 'mmdet::pascal_voc/ssd300_voc0712.py'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        # SSD's loss is large at first: with 0.001, as for other detectors, the
        # meta-gradient runs away on its way back.
        criterion=dict(type='ProsPr', steps=3, lr=1e-5),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # So few objects are of the size of the last levels that a global
        # ranking would remove their layers whole.
        exclude=['neck.extra_layers.*', 'bbox_head.*'],
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
