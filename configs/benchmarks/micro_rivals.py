# The micro suite beside pruning during and after training.
_base_ = ['./micro.py', '../_base_/suites/rivals.py']
title = 'Micro: EPSD beside pruning during and after training'
methods = _base_['_rivals']
