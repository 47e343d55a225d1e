_base_ = '../_base_/suites/all_methods.py'
title = 'CIFAR-10: ResNet-18'
setups = dict(
    resnet18=dict(
        config='../cifar10_resnet18_epsd.py',
        metric='accuracy/top1',
        # A network that a method has cut off is a result, and not an error.
        options={'default_hooks.epsd.allow_empty_layers': True},
    ),
)
# Compressions of 10^0.5, 10, 10^1.5 and 100, of which figures are published.
sparsities = [0.6838, 0.9, 0.9684, 0.99]
