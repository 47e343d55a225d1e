# The micro suite on CIFAR-10 as JPEG files of quality 75, packed by
# pack_images.py: what was at hand here. With the published files the suite is
# configs/benchmarks/micro.py.
_base_ = '../../configs/benchmarks/micro.py'
title = 'Micro: CIFAR-10 (JPEG q75) at 16x16, ResNet-18 a quarter as wide'
packed = 'data/cifar10-q75'
setups = dict(
    cifar10_16px=dict(
        config='../../configs/benchmarks/micro_cifar10_resnet18.py',
        options={
            'train_dataloader.dataset.data_root': packed,
            'val_dataloader.dataset.data_root': packed,
            'test_dataloader.dataset.data_root': packed,
        },
    )
)
del packed
