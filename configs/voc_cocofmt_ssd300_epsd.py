# EPSD on SSD300 and Pascal VOC 2007 + 2012 in COCO format (see
# docs/the_hook.md).
_base_ = ['./voc_ssd300_epsd.py', './_base_/datasets/voc_cocofmt.py']

# Taken out: it is no key of a runner.
__voc = _base_.pop('voc_cocofmt')
__part = _base_.train_dataloader.dataset.dataset.datasets[0]
__train = dict(__voc.train, pipeline=__part.pipeline)
__test = dict(__voc.test, pipeline=_base_.val_dataloader.dataset.pipeline)
train_dataloader = dict(dataset=dict(dataset=__train))
val_dataloader = dict(dataset=__test)
test_dataloader = val_dataloader
val_evaluator = __voc.metric
test_evaluator = val_evaluator
