# More methods in the set-up of micro_q75.py, whose cells it shares: `import`
# micro_q75/results.json first. It claims nothing: all of it is descriptive.
_base_ = 'micro_q75.py'
title = 'Micro, wide: CIFAR-10 (JPEG q75) at 16x16, quarter of a ResNet-18'
methods = {
    'Random, then SD': dict(variant='simple-combination', criterion='Random'),
    'SNIP': dict(variant='prune-only', criterion='SNIP'),
    'SNIP, then SD': dict(variant='simple-combination', criterion='SNIP'),
    'ProsPr': dict(variant='prune-only'),
    'EPSD (1, 10)': dict(score_weights=dict(task=1.0, sd=10.0)),
    'EPSD (0, 1)': dict(score_weights=dict(task=0.0, sd=1.0)),
}
claims = []
