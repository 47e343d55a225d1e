# EPSD with PS-KD on ResNet-50 and ImageNet, to mmpretrain's recipe of 100
# epochs. alpha is PS-KD's for CIFAR-100.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    './_base_/datasets/imagenet.py',
    './_base_/methods/ps_kd.py',
]
model = dict(
    # No residual branch starts at zero, where no gradient would rank it.
    backbone=dict(zero_init_residual=False),
)
default_hooks = dict(
    # The 50 largest probabilities of each image: 0.27 GB for 1.28 million.
    epsd=dict(sd_loss=dict(top_k=50)),
)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4
    )
)
param_scheduler = dict(milestones=[30, 60, 90])
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=256)
