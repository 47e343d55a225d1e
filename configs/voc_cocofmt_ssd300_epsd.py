# EPSD on SSD300 and Pascal VOC 2007 + 2012 in COCO format, as
# mmdet's tools/dataset_converters/pascal_voc.py writes it (see README.md).
_base_ = './voc_ssd300_epsd.py'

__classes = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog '
    'horse motorbike person pottedplant sheep sofa train tvmonitor'
)
__part = _base_.train_dataloader.dataset.dataset.datasets[0]
__voc = dict(
    _delete_=True,
    type='CocoDataset',
    data_root=__part.data_root,
    data_prefix=dict(img=''),
    metainfo=dict(classes=__classes.split()),
)
__train = dict(
    ann_file='annotations/voc0712_trainval.json',
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=__part.pipeline,
    **__voc,
)
__test = dict(
    ann_file='annotations/voc07_test.json',
    test_mode=True,
    pipeline=_base_.val_dataloader.dataset.pipeline,
    **__voc,
)
train_dataloader = dict(dataset=dict(dataset=__train))
val_dataloader = dict(dataset=__test)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file=__part.data_root + 'annotations/voc07_test.json',
    metric='bbox',
)
test_evaluator = val_evaluator
