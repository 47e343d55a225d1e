# EPSD with DLB on WRN-20-8 and CIFAR-100.
_base_ = [
    './_base_/models/wrn20_8.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/dlb.py',
]
train_dataloader = dict(batch_sampler=dict(type='OverlapBatchSampler'))
