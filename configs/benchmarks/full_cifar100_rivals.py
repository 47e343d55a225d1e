# One network and one recipe, since each round of a lottery ticket is a whole
# training.
_base_ = ['./full_cifar100.py', '../_base_/suites/rivals.py']
title = 'CIFAR-100: ResNet-18 beside pruning during and after training'
setups = dict(_delete_=True, cs_kd=_base_['setups']['cs_kd'])
methods = dict(_delete_=True, **_base_['_rivals'])
