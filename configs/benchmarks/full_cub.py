_base_ = '../_base_/suites/all_methods.py'
title = 'CUB-200-2011: ResNet-50, from scratch'
setups = dict(
    resnet50=dict(
        config='../cub_resnet50_epsd.py',
        metric='accuracy/top1',
        # A network that a method has cut off is a result, and not an error.
        options={'default_hooks.epsd.allow_empty_layers': True},
    ),
)
sparsities = [0.8, 0.9, 0.95]
