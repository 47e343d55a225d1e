# A backbone that was pruned and trained on Tiny-ImageNet, in Faster R-CNN on
# the subset of Pascal VOC: its mask holds, the other parts are scored.
_base_ = '../voc_detectors/faster_rcnn.py'

__run = 'work_dirs/tiny_imagenet_ps_kd/'
model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint=__run + 'epoch_8.pth',
            prefix='backbone.',
        )
    )
)
default_hooks = dict(
    epsd=dict(masks=__run + 'epsd/masks.pth', prefix='backbone')
)
