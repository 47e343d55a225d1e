# configs/benchmarks/bccd_rivals.py at one sparsity, without SET and without
# changing masks that self-distil. Lottery tickets would take 14 rounds of 20 %
# to get there, 14 trainings a seed: here they take 4 of 53 %.
_base_ = '../../configs/benchmarks/bccd_rivals.py'
title = 'BCCD at 95 %: EPSD beside pruning during and after training'
sparsities = [0.95]
setups = dict(bccd=dict(config='../../configs/benchmarks/bccd_faster_rcnn.py'))
__names = ['dense', 'SD only', 'Random', 'Simple Combination', 'EPSD']
__names += ['GMP', 'RigL', 'KD from a dense twin', 'Prune, then Distill']
methods = dict(
    _delete_=True,
    **{name: _base_.methods[name] for name in __names},
    IMP=dict(variant='prune-only', rounds=dict(share=0.53, rewind=1)),
)
