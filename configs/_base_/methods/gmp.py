# Gradual magnitude pruning (Zhu and Gupta, 2018): from all weights to a tenth
# of each layer's. Stands beside a whole config of mmpretrain or mmdet in
# _base_, which keeps its loss and its recipe.
custom_hooks = [
    dict(
        # By this name it needs no custom_imports.
        type='epsd_mm.engine.EPSDHook',
        sparsity=0.9,
        allocation='uniform',
        policy=dict(type='Gradual'),
    )
]
