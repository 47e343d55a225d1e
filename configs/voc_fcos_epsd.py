# EPSD on FCOS R50-FPN and Pascal VOC 2007 + 2012. mmdet has no such config:
# the head is that of its COCO configs with centre sampling, normalised
# distances and GIoU, the rest is RetinaNet's.
_base_ = './voc_retinanet_epsd.py'

model = dict(
    type='FCOS',
    neck=dict(add_extra_convs='on_output', relu_before_extra_convs=True),
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=20,
        in_channels=256,
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        conv_bias=True,
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
    ),
    train_cfg=None,
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
