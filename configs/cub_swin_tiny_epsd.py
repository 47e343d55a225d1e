# EPSD with CS-KD on Swin-T and CUB-200-2011, from the weights that mmpretrain
# has trained on ImageNet.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    './_base_/datasets/cub.py',
    './_base_/methods/fine_tuning.py',
]
__file = 'swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth'
__weights = dict(
    type='Pretrained',
    prefix='backbone',
    checkpoint='https://download.openmmlab.com/mmclassification/v0/'
    f'swin-transformer/{__file}',
)
model = dict(backbone=dict(init_cfg=__weights), head=dict(num_classes=200))
# Added to the attention, not multiplied with it.
default_hooks = dict(epsd=dict(exclude=['*.relative_position_bias_table']))
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
