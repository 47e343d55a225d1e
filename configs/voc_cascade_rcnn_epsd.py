# EPSD on Cascade R-CNN R50-FPN and Pascal VOC 2007 + 2012. mmdet has no such
# config: the stages are those of its base model, the rest is Faster R-CNN's.
_base_ = './voc_faster_rcnn_epsd.py'

__one = _base_.model.roi_head
__rcnn = _base_.model.train_cfg.rcnn
__coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4)
__stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1])
__stds += ([0.033, 0.033, 0.067, 0.067],)

__heads = [
    dict(
        __one.bbox_head,
        reg_class_agnostic=True,
        bbox_coder=dict(__coder, target_stds=stds),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
    )
    for stds in __stds
]
__training = [
    dict(
        __rcnn,
        assigner=dict(
            __rcnn.assigner, pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou
        ),
    )
    for iou in (0.5, 0.6, 0.7)
]
model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=__heads,
    ),
    train_cfg=dict(rcnn=__training, rpn_proposal=dict(max_per_img=2000)),
)
