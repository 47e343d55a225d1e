# What the full suites compare: each criterion with the plain loss, the same
# followed by self-distillation, and EPSD with three weights of the term.
__criteria = ('Random', 'Magnitude', 'SNIP', 'GraSP', 'SynFlow')
__criteria += ('NTKSAP', 'IterSNIP', 'FORCE')
methods = {
    'dense': dict(variant='dense'),
    'SD only': dict(variant='sd-only'),
    **{
        name: dict(variant='prune-only', criterion=name) for name in __criteria
    },
    # With the steps of the config, as EPSD has them.
    'ProsPr': dict(variant='prune-only'),
    **{
        f'{name} + SD': dict(variant='simple-combination', criterion=name)
        for name in __criteria
    },
    # ProsPr + SD, that is.
    'Simple Combination': dict(variant='simple-combination'),
    'EPSD': dict(),
    'EPSD (1, 10)': dict(score_weights=dict(task=1.0, sd=10.0)),
    'EPSD (0, 1)': dict(score_weights=dict(task=0.0, sd=1.0)),
}
# Three runs each, as is usual: they describe, and decide nothing. To test a
# claim, take ten seeds and the methods that it is about.
seeds = [0, 1, 2]
