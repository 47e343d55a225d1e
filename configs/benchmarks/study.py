# The micro suite in about 20 minutes on two cores: half of the epochs, three
# seeds. Three pairs decide nothing, and the report says so.
_base_ = './micro.py'
title = 'Micro, in short: 20 epochs, three seeds'
setups = dict(
    cifar10_16px=dict(
        options={
            'train_cfg.max_epochs': 20,
            'train_cfg.val_interval': 20,
            'param_scheduler.T_max': 20,
        },
        about='4,000 images to train, 3,000 to test, 20 epochs',
    )
)
seeds = [0, 1, 2]
