# EPSD with CS-KD on ResNet-18 (3x3 stem) and CIFAR-100.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    './_base_/datasets/cifar100.py',
    './_base_/methods/cs_kd.py',
]
model = dict(
    # No residual branch starts at zero, where no gradient would rank it.
    backbone=dict(zero_init_residual=False),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
