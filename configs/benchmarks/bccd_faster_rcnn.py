# A whole detection set that one core trains on in ten minutes. The detector
# is small and from scratch; its sizes are ours.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/bccd_from_scratch.py',
]
model = dict(
    backbone=dict(
        depth=18,
        # Nothing is pretrained: all stages learn, normalisation included, and
        # no residual branch starts at zero, where no gradient would rank it.
        init_cfg=None,
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Cells of 20 to 100 pixels: half of the usual anchor size.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        # Half of the few RoIs may be objects, of which an image has 14.
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
# As in the configs of VOC: they start near zero, or see few objects.
default_hooks = dict(
    epsd=dict(
        exclude=['neck.fpn_convs.*', 'rpn_head.*', '*.fc_cls.*', '*.fc_reg.*']
    )
)
