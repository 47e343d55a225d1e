# The demo's detector, pruned to a fifth of its weights before training.
_base_ = './demo_faster_rcnn.py'
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.8,
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # These start so small (standard deviation 0.01 and 0.001), or see so
        # few objects, that a global ranking would remove them whole.
        exclude=['neck.fpn_convs.*', 'rpn_head.*', '*.fc_cls.*', '*.fc_reg.*'],
        # Fewer than the default of 8, so that a demo stays short.
        draws=1,
    )
)
train_dataloader = dict(
    batch_sampler=dict(
        type='ClassPairBatchSampler',
        base=dict(type='AspectRatioBatchSampler'),
    )
)
