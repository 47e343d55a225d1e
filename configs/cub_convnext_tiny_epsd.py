# EPSD with CS-KD on ConvNeXt-T and CUB-200-2011, from the weights that
# mmpretrain has trained on ImageNet.
_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    './_base_/datasets/cub.py',
    './_base_/methods/fine_tuning.py',
]
__weights = dict(
    type='Pretrained',
    prefix='backbone',
    checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/'
    'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
)
model = dict(backbone=dict(init_cfg=__weights), head=dict(num_classes=200))
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
