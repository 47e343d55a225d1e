# The fair control of C8, in the set-up of micro_q75.py: scores of others,
# followed by the training that EPSD has. Seed 0 is left out: it was seen, one
# run a method, before these claims were named.
_base_ = 'micro_q75.py'
title = 'Micro, controls: CIFAR-10 (JPEG q75) at 16x16, all trained with CS-KD'
methods = dict(
    _delete_=True,
    **{
        'EPSD': dict(variant='epsd'),
        'Random, then SD': dict(
            variant='simple-combination', criterion='Random'
        ),
        'SNIP, then SD': dict(variant='simple-combination', criterion='SNIP'),
    },
)
seeds = list(range(1, 10))
__at = dict(setup='cifar10_16px', sparsity=0.95)
claims = [
    dict(name='C8, random', first='EPSD', second='Random, then SD', **__at),
    dict(name='C8, SNIP', first='EPSD', second='SNIP, then SD', **__at),
]
