# NTK-SAP (Wang et al., 2023): pruned before training, by noise in place of
# images. Stands beside a whole config of mmpretrain in _base_, which keeps its
# loss and its recipe.
custom_hooks = [
    dict(
        type='epsd_mm.engine.EPSDHook',
        sparsity=0.9,
        criterion=dict(type='NTKSAP'),
    )
]
