# configs/benchmarks/study.py on the packed JPEG files, see micro_q75.py.
_base_ = '../../configs/benchmarks/study.py'
title = 'Micro, in short: 20 epochs, three seeds, CIFAR-10 (JPEG q75)'
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
