# Statistics on small runs: five minutes each on one core.
title = 'Micro: CIFAR-10 at 16x16, ResNet-18 a quarter as wide'
setups = dict(
    cifar10_16px=dict(
        config='micro_cifar10_resnet18.py',
        metric='accuracy/top1',
        about='4,000 images to train, 3,000 to test, 40 epochs',
    )
)
methods = {
    'dense': dict(variant='dense'),
    'SD only': dict(variant='sd-only'),
    'Random': dict(variant='prune-only', criterion='Random'),
    'Simple Combination': dict(variant='simple-combination'),
    'EPSD': dict(variant='epsd'),
}
sparsities = [0.95]
seeds = list(range(10))
at = dict(setup='cifar10_16px', sparsity=0.95)
claims = [
    dict(name='C1', first='EPSD', second='Simple Combination', **at),
    dict(name='C8', first='EPSD', second='Random', **at),
]
del at
