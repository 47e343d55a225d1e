# Neurons of the MLPs of a vision transformer, 20, 30 and 40 % of its prunable
# weights. Those of the trained network go at once, and what is left is
# fine-tuned by the plain loss: by SDMPrune (Zhu and Shen, 2025), by magnitude
# and at random, each within its layer. Two controls: the trained network,
# fine-tuned alike, and neurons that go before training.
title = 'Micro: neurons of a vision transformer, CIFAR-10 at 16x16'
setups = dict(
    vit_16px=dict(
        config='micro_cifar10_vit.py',
        metric='accuracy/top1',
        about='4,000 images to train, 3,000 to test, 30 epochs, then 15',
    )
)
# Half of the epochs, from a third of the learning rate, without a warm-up.
__fine = {
    'train_cfg.max_epochs': 15,
    'train_cfg.val_interval': 15,
    'optim_wrapper.optimizer.lr': 3e-4,
    'param_scheduler': [
        dict(type='CosineAnnealingLR', T_max=15, by_epoch=True)
    ],
}
# Widths need no multiples here: nothing is timed.
__neurons = {
    'default_hooks.epsd.structure': dict(type='neurons', multiple_of=1),
    'default_hooks.epsd.allocation': 'uniform',
}
__all_images = {'default_hooks.epsd.batches_per_step': 62}
methods = {
    'dense': dict(variant='dense'),
    'dense, fine-tuned': dict(
        variant='dense', weights_of='dense', options=__fine
    ),
    'SDMPrune': dict(
        variant='prune-only',
        criterion='SDMPrune',
        weights_of='dense',
        options={**__fine, **__neurons, **__all_images},
    ),
    'Magnitude': dict(
        variant='prune-only',
        criterion='Magnitude',
        weights_of='dense',
        options={**__fine, **__neurons},
    ),
    'Random': dict(
        variant='prune-only',
        criterion='Random',
        weights_of='dense',
        options={**__fine, **__neurons},
    ),
    'SNIP, before training': dict(
        variant='prune-only', criterion='SNIP', options=__neurons
    ),
}
# For which the authors of SDMPrune give alpha and temperature.
sparsities = [0.2, 0.3, 0.4]
seeds = list(range(10))
at = dict(setup='vit_16px', sparsity=0.4)
claims = [
    dict(name='SDMPrune', first='SDMPrune', second='Magnitude', **at),
]
del at
