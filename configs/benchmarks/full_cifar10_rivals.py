# Each round of a lottery ticket is a whole training: --dry-run counts them.
_base_ = ['./full_cifar10.py', '../_base_/suites/rivals.py']
title = 'CIFAR-10: ResNet-18 beside pruning during and after training'
methods = dict(_delete_=True, **_base_['_rivals'])
