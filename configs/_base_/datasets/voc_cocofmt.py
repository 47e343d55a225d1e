# Pascal VOC 2007 + 2012 in COCO format, as mmdet's script
# tools/dataset_converters/pascal_voc.py writes it: what a config of VOC takes
# in place of its own sets and metric (see docs/the_hook.md).
__root = 'data/VOCdevkit/'
__classes = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog '
    'horse motorbike person pottedplant sheep sofa train tvmonitor'
)
__voc = dict(
    _delete_=True,
    type='CocoDataset',
    data_root=__root,
    data_prefix=dict(img=''),
    metainfo=dict(classes=__classes.split()),
)
voc_cocofmt = dict(
    train=dict(
        ann_file='annotations/voc0712_trainval.json',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        **__voc,
    ),
    test=dict(ann_file='annotations/voc07_test.json', test_mode=True, **__voc),
    metric=dict(
        _delete_=True,
        type='CocoMetric',
        ann_file=__root + 'annotations/voc07_test.json',
        metric='bbox',
    ),
)
