# EPSD with CS-KD on a small vision transformer and CIFAR-100. The recipe is
# ours: CS-KD's authors train no transformer.
_base_ = [
    './_base_/models/vit_small_patch4_32.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/cs_kd.py',
]
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
# Added to the patches, not multiplied with them.
default_hooks = dict(epsd=dict(exclude=['backbone.pos_embed']))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=10, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=10, end=200, by_epoch=True),
]
