# EPSD on RetinaNet R50-FPN and Pascal VOC 2007 (trainval; test).
_base_ = './voc_retinanet_epsd.py'

__part = _base_.train_dataloader.dataset.dataset.datasets[0]
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[__part])))
