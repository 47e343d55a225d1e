# Beside early pruning, what prunes or rewires while it trains. A run has 438
# steps, so that masks change more often than every hundred of them.
_base_ = './bccd.py'
title = 'BCCD: EPSD beside pruning during training'
__often = {'default_hooks.epsd.policy.every': 20}
methods = {
    **{
        name: dict(variant='prune-only', policy=name, options=__often)
        for name in ('GMP', 'SET', 'RigL')
    },
    **{
        f'{name} + SD': dict(
            variant='simple-combination', policy=name, options=__often
        )
        for name in ('GMP', 'SET', 'RigL')
    },
}
