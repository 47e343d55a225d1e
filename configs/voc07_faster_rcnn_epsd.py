# EPSD on Faster R-CNN R50-FPN and Pascal VOC 2007 (trainval; test).
_base_ = './voc_faster_rcnn_epsd.py'

__part = _base_.train_dataloader.dataset.dataset.datasets[0]
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[__part])))
