# EPSD with CS-KD on ResNet-18 (3x3 stem) and Tiny-ImageNet at 64x64; CS-KD's
# authors scale the images down to 32x32.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    './_base_/datasets/tiny_imagenet.py',
    './_base_/methods/cs_kd.py',
]
model = dict(
    # No residual branch starts at zero, where no gradient would rank it.
    backbone=dict(zero_init_residual=False),
    head=dict(num_classes=200),
)
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
