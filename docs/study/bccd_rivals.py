# configs/benchmarks/bccd_rivals.py at one sparsity: its lottery tickets take
# 14 rounds to get there.
_base_ = '../../configs/benchmarks/bccd_rivals.py'
title = 'BCCD at 95 %: EPSD beside pruning during and after training'
sparsities = [0.95]
setups = dict(bccd=dict(config='../../configs/benchmarks/bccd_faster_rcnn.py'))
