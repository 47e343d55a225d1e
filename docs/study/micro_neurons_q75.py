# configs/benchmarks/micro_neurons.py on the packed JPEG files.
# Three seeds, which describe and decide nothing.
_base_ = ['../../configs/benchmarks/micro_neurons.py', './packed.py']
title = 'Micro: neurons of a vision transformer, CIFAR-10 (JPEG q75) at 16x16'
setups = dict(
    vit_16px=dict(
        config='../../configs/benchmarks/micro_cifar10_vit.py',
        options=_base_['_packed'],
    )
)
seeds = [0, 1, 2]
claims = []
