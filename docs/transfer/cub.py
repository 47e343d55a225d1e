# A backbone that was pruned and trained on Tiny-ImageNet, in a classifier of
# 40 of CUB's species: its mask holds, the head stays dense.
_base_ = '../classification_subsets/cub_cs_kd.py'

__run = 'work_dirs/tiny_imagenet_ps_kd/'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=__run + 'epoch_8.pth',
            prefix='backbone.',
        )
    )
)
default_hooks = dict(
    epsd=dict(
        _delete_=True,
        type='EPSDHook',
        masks=__run + 'epsd/masks.pth',
        prefix='backbone',
        sd_loss=_base_.default_hooks.epsd.sd_loss,
    )
)
