# configs/benchmarks/study.py on the packed JPEG files.
_base_ = ['../../configs/benchmarks/study.py', './packed.py']
title = 'Micro, in short: 20 epochs, three seeds, CIFAR-10 (JPEG q75)'
setups = dict(
    cifar10_16px=dict(
        config='../../configs/benchmarks/micro_cifar10_resnet18.py',
        options=_base_['_packed'],
    )
)
