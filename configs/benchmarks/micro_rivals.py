# Beside early pruning, what prunes or rewires while it trains: with the plain
# loss, as its authors have it, and with self-distillation, the fair control.
_base_ = './micro.py'
title = 'Micro: EPSD beside pruning during training'
methods = {
    **{
        name: dict(variant='prune-only', policy=name)
        for name in ('GMP', 'SET', 'RigL')
    },
    **{
        f'{name} + SD': dict(variant='simple-combination', policy=name)
        for name in ('GMP', 'SET', 'RigL')
    },
}
