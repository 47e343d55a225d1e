# CS-KD for a network that starts from ImageNet's weights: AdamW for 50 epochs
# of batches of 32, five of them to warm up. The recipe is ours, the weight of
# the term that of CS-KD's authors on CUB-200-2011.
_base_ = './runtime.py'
default_hooks = dict(
    epsd=dict(
        # What was trained lies in narrower valleys than what was drawn.
        criterion=dict(lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=3.0),
        # Their Mixup and CutMix are for other losses.
        batch_augments='off',
    )
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=5, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=5, end=50, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=50)
auto_scale_lr = dict(base_batch_size=32)
