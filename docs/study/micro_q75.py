# configs/benchmarks/micro.py on the packed JPEG files.
_base_ = ['../../configs/benchmarks/micro.py', './packed.py']
title = 'Micro: CIFAR-10 (JPEG q75) at 16x16, ResNet-18 a quarter as wide'
setups = dict(
    cifar10_16px=dict(
        config='../../configs/benchmarks/micro_cifar10_resnet18.py',
        options=_base_['_packed'],
    )
)
