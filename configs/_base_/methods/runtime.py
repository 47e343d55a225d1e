# What the methods have in common: mmpretrain's runtime, and a hook that scores
# and prunes. No epoch is chosen by the test set: the last one counts.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(
    imports=['epsd_mm', 'epsd_mm.models', 'epsd_mm.datasets.classification'],
    allow_failed_imports=False,
)
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2),
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        # Scored on the self-distillation objective, ProsPr is EPSD. With its
        # usual lr of 0.1 the meta-gradient of these networks runs away on its
        # way back; with 0.01 it keeps its size.
        criterion=dict(type='ProsPr', steps=3, lr=0.01),
        # One draw of the data gives a mask that is mostly noise.
        draws=8,
    ),
)
randomness = dict(seed=0)
val_cfg = dict()
test_cfg = dict()
