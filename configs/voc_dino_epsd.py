# EPSD on DINO R50 and Pascal VOC 2007 + 2012, from the weights that mmdet has
# trained on COCO. That, data and losses are our choice, the schedule mmdet's.
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)
load_from = 'https://download.openmmlab.com/mmdetection/v3.0/dino/dino-4scale_r50_8xb2-12e_coco/dino-4scale_r50_8xb2-12e_coco_20221202_182705-55b2bba2.pth'  # noqa
default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # The classes are new, embeddings are added, and no layer goes whole.
        exclude=['bbox_head.*', '*embed*'],
        allocation=dict(type='global', min_density=0.001),
        batches_per_step=4,
    )
)
model = dict(bbox_head=dict(num_classes=20))
__voc = [
    dict(
        type='VOCDataset',
        data_root='data/VOCdevkit/',
        ann_file=f'VOC{year}/ImageSets/Main/{split}.txt',
        data_prefix=dict(sub_data_root=f'VOC{year}/'),
    )
    for year, split in ((2007, 'trainval'), (2012, 'trainval'), (2007, 'test'))
]
__train = [dict(part, pipeline=_base_.train_pipeline) for part in __voc[:2]]
__both = dict(type='ConcatDataset', ignore_keys=['dataset_type'])
__base = _base_.train_dataloader.batch_sampler
__test = dict(__voc[2], pipeline=_base_.test_pipeline, test_mode=True)
train_dataloader = dict(
    dataset=dict(_delete_=True, datasets=__train, **__both),
    batch_sampler=dict(type='ClassPairBatchSampler', base=__base),
)
val_dataloader = dict(dataset=dict(_delete_=True, **__test))
test_dataloader = val_dataloader
__ap = dict(type='VOCDetectionMetric', eval_mode='11points')
val_evaluator = test_evaluator = dict(_delete_=True, **__ap)
randomness = dict(seed=0)
