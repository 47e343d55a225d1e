# Each round of a lottery ticket is a whole training: --dry-run counts them.
_base_ = ['./full_cub.py', '../_base_/suites/rivals.py']
title = 'CUB-200-2011: ResNet-50 beside pruning during and after training'
methods = dict(_delete_=True, **_base_['_rivals'])
