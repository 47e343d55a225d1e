# EPSD with CS-KD on MobileNetV2 and CIFAR-100.
_base_ = [
    './_base_/models/mobilenetv2_cifar.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/cs_kd.py',
]
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
