# configs/benchmarks/micro_rivals.py on the packed JPEG files.
_base_ = ['../../configs/benchmarks/micro_rivals.py', './packed.py']
title = 'Micro, CIFAR-10 (JPEG q75): pruning before, during, after training'
setups = dict(
    cifar10_16px=dict(
        config='../../configs/benchmarks/micro_cifar10_resnet18.py',
        options=_base_['_packed'],
    )
)
seeds = [0, 1, 2]
