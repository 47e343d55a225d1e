# Where does self-distillation help the dense network? A suite that compares
# nothing else, to find a set-up in which early pruning with it can be tested.
title = (
    'Regime: 40 classes of Tiny-ImageNet at 32x32, ResNet-18 a quarter as wide'
)
setups = dict(
    tiny40_32px=dict(
        config='tiny40_resnet18.py',
        metric='accuracy/top1',
        about='3,334 images of 40 classes to train, 1,000 to test, 40 epochs',
    )
)
methods = {
    'dense': dict(variant='dense'),
    'CS-KD': dict(variant='sd-only', sd_loss='CSKDLoss'),
    'PS-KD': dict(variant='sd-only', sd_loss='PSKDLoss'),
    'DLB': dict(variant='sd-only', sd_loss='DLBLoss'),
}
sparsities = []
seeds = [0, 1, 2]
claims = []
