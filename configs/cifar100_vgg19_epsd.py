# EPSD with CS-KD on VGG-19-BN and CIFAR-100.
_base_ = [
    './_base_/models/vgg19_bn.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/cs_kd.py',
]
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
