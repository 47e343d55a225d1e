# EPSD on RTMDet-tiny and Pascal VOC 2007 + 2012: score, prune to a tenth of
# the weights before training, train with self-distillation.
_base_ = ['./_base_/models/rtmdet_tiny.py', './_base_/voc_640.py']

__weights = 'https://mmassets.onedl.ai/mmdetection/v3.0/rtmdet/'
__weights += 'cspnext_rsb_pretrain/cspnext-tiny_imagenet_600e.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', prefix='backbone.', checkpoint=__weights
        )
    ),
    bbox_head=dict(num_classes=20),
)
# As on BCCD, see there.
default_hooks = dict(epsd=dict(criterion=dict(lr=1e-5)))
# mmdet's recipe, at its learning rate per image and for 90 epochs (30 of a set
# that is repeated three times), which are ours.
__lr = 0.004 * 16 / 256
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=__lr, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.05 * __lr,
        begin=15,
        end=30,
        T_max=15,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
