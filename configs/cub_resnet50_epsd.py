# EPSD with CS-KD on ResNet-50 and CUB-200-2011, from scratch, with the weight
# of the term that CS-KD's authors use there (their network is ResNet-18).
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    './_base_/datasets/cub.py',
    './_base_/methods/cs_kd.py',
]
model = dict(
    # No residual branch starts at zero, where no gradient would rank it.
    backbone=dict(zero_init_residual=False),
    head=dict(num_classes=200, topk=(1, 5)),
)
default_hooks = dict(epsd=dict(sd_loss=dict(loss_weight=3.0)))
train_dataloader = dict(batch_sampler=dict(type='ClassPairBatchSampler'))
auto_scale_lr = dict(base_batch_size=32)
