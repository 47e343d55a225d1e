# EPSD on YOLOX-tiny and Pascal VOC 2007 + 2012, from scratch as mmdet has it:
# score, prune to a tenth of the weights before training, train with
# self-distillation.
_base_ = ['./_base_/models/yolox_tiny.py', './_base_/voc_640.py']

model = dict(bbox_head=dict(num_classes=20))
# As on BCCD, see there.
default_hooks = dict(epsd=dict(criterion=dict(lr=2e-7)))
# mmdet's recipe, at its learning rate per image and for 90 epochs (30 of a set
# that is repeated three times), which are ours; its last epochs have no loss
# of their own here.
__lr = 0.01 * 16 / 64
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='SGD', lr=__lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    ),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
)
param_scheduler = [
    dict(
        type='mmdet.QuadraticWarmupLR',
        end=2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.05 * __lr,
        begin=2,
        end=30,
        T_max=28,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
