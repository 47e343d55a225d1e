# EPSD on SSD300 and Pascal VOC 2012, tested on its val set: the
# annotations of its test set are not published.
_base_ = './voc_ssd300_epsd.py'

__part = dict(
    _base_.train_dataloader.dataset.dataset.datasets[1],
    ann_file='VOC2012/ImageSets/Main/train.txt',
)
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[__part])))
val_dataloader = dict(
    dataset=dict(
        ann_file='VOC2012/ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root='VOC2012/'),
    )
)
test_dataloader = val_dataloader
# VOC's own metric since 2010.
val_evaluator = dict(eval_mode='area')
test_evaluator = val_evaluator
