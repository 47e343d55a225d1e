# EPSD with DLB on ResNet-32 and CIFAR-100.
_base_ = [
    './_base_/models/resnet32_cifar.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/dlb.py',
]
train_dataloader = dict(batch_sampler=dict(type='OverlapBatchSampler'))
