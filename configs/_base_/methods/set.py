# Sparse evolutionary training (Mocanu et al., 2018): random masks, of which
# the smallest weights go and others come. Stands beside a whole config of
# mmpretrain or mmdet in _base_, which keeps its loss and its recipe.
custom_hooks = [
    dict(
        type='epsd_mm.engine.EPSDHook',
        sparsity=0.9,
        criterion='Random',
        allocation='erk',
        policy=dict(type='SET'),
    )
]
