# A Faster R-CNN small enough to learn the drawn set on two CPU cores.
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'

max_epochs = 10
classes = ('disc', 'square', 'triangle', 'star')

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
        # Figures of 16 to 64 pixels: half of the usual anchor size.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(output_size=5, sampling_ratio=1), out_channels=64
        ),
        bbox_head=dict(
            in_channels=64,
            fc_out_channels=128,
            roi_feat_size=5,
            num_classes=len(classes),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        # Half of the few RoIs may be objects: figures are told apart sooner.
        rcnn=dict(sampler=dict(num=48, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)

data_root = 'work_dirs/demo/data/VOCdevkit/'
# At the size they were drawn: the heads ask for a scale all the same.
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]
# VOCDataset would do; XMLDataset makes VOCMetric's table show these names
# instead of VOC's.
dataset = dict(
    type='XMLDataset',
    metainfo=dict(classes=classes),
    data_root=data_root,
    data_prefix=dict(sub_data_root='VOC2007/'),
)
train_dataloader = dict(
    # Many small steps: the schedule is short.
    batch_size=4,
    # Reading a small image is quicker than waiting for another process.
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        test_mode=True,
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
# One cycle of AdamW learns in a few epochs what SGD's steps do not.
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01, fused=True
    ),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1e-3,
        total_steps=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
