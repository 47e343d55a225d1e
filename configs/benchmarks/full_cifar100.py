# Each self-distillation loss with its authors' recipe, so that a row of the
# report has one recipe.
_base_ = '../_base_/suites/all_methods.py'
title = 'CIFAR-100: three losses, and four more networks'
setups = {
    name: dict(
        config=f'../cifar100_{file}.py',
        metric='accuracy/top1',
        # A network that a method has cut off is a result, and not an error.
        options={'default_hooks.epsd.allow_empty_layers': True},
    )
    for name, file in dict(
        cs_kd='resnet18_epsd',
        ps_kd='resnet18_epsd_ps_kd',
        dlb='resnet18_epsd_dlb',
        preact_resnet18='preact_resnet18_epsd',
        vgg16='vgg16_epsd',
        vgg19='vgg19_epsd',
        wrn20_8='wrn20_8_epsd',
    ).items()
}
# Compressions of 10^0.5, 10, 10^1.5 and 100, of which figures are published.
sparsities = [0.6838, 0.9, 0.9684, 0.99]
