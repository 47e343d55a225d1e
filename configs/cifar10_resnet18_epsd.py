# EPSD with CS-KD on ResNet-18 (3x3 stem) and CIFAR-10.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    './_base_/datasets/cifar10.py',
    './_base_/methods/cs_kd.py',
]
model = dict(
    # No residual branch starts at zero, where no gradient would rank it.
    backbone=dict(zero_init_residual=False),
    head=dict(num_classes=10),
)
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
