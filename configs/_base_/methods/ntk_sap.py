# NTK-SAP (Wang et al., 2023): pruned before training, by noise in place of
# images. Stands beside a whole config of mmpretrain in _base_, which keeps its
# loss and its recipe. A ResNet of mmpretrain needs zero_init_residual=False in
# its backbone: branches that start at zero have scores of zero.
custom_hooks = [
    dict(
        type='epsd_mm.engine.EPSDHook',
        sparsity=0.9,
        criterion=dict(type='NTKSAP'),
    )
]
