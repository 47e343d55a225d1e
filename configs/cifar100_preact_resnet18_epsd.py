# EPSD with CS-KD on pre-activation ResNet-18 and CIFAR-100.
_base_ = [
    './_base_/models/preact_resnet18.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/cs_kd.py',
]
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
