# What the runs on the subset of Pascal VOC have in common: images, length and
# scoring. `python tools/prepare_data.py voc --source voc.tar --allow-subset`
__scale = (256, 160)  # instead of 1000x600
__load = dict(type='LoadImageFromFile')
__annotations = dict(type='LoadAnnotations', with_bbox=True)
__flip = dict(type='RandomFlip', prob=0.5)
__resize = dict(type='Resize', scale=__scale, keep_ratio=True)
__pack = dict(
    type='PackDetInputs',
    meta_keys=(
        'img_id',
        'img_path',
        'ori_shape',
        'img_shape',
        'scale_factor',
    ),
)
__epochs = 4
__train = dict(
    _delete_=True,
    type='ConcatDataset',
    ignore_keys=['dataset_type'],
    datasets=[
        dict(
            type='VOCDataset',
            data_root='data/VOCdevkit/',
            ann_file=f'VOC{year}/ImageSets/Main/{part}.txt',
            data_prefix=dict(sub_data_root=f'VOC{year}/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[
                __load,
                __annotations,
                __resize,
                __flip,
                dict(type='PackDetInputs'),
            ],
        )
        for year, part in (('2007', 'trainval'), ('2012', 'train'))
    ],
)
# The val set of 2012 has five times the images of the test set of 2007.
__val = dict(
    num_workers=1,
    dataset=dict(
        ann_file='VOC2012/ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root='VOC2012/'),
        pipeline=[__load, __resize, __annotations, __pack],
    ),
)
subset = dict(
    train_dataloader=dict(batch_size=8, num_workers=1, dataset=__train),
    val_dataloader=__val,
    val_evaluator=dict(eval_mode='area'),
    # ResNet-18 of half the width, from scratch: all stages learn, and no
    # residual branch starts at zero, where no gradient would rank its weights.
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=32,
        stem_channels=32,
        init_cfg=None,
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
    ),
    default_hooks=dict(
        # Batches of 8 images need no averaging.
        epsd=dict(batches_per_step=1, draws=2, compare_plain=True),
        logger=dict(interval=20),
    ),
    train_cfg=dict(max_epochs=__epochs, val_interval=__epochs),
    param_scheduler=[
        dict(
            type='OneCycleLR',
            eta_max=1e-3,
            total_steps=__epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        )
    ],
    env_cfg=dict(dist_cfg=dict(backend='gloo')),
    optim_wrapper=dict(
        optimizer=dict(
            _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01
        ),
        clip_grad=dict(max_norm=10),
    ),
)
