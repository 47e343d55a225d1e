# How a detector is trained on BCCD from scratch: a whole detection set that
# one core trains on in minutes. Schedule and learning rate are ours. The
# config says what its hook excludes.
_base_ = [
    'mmdet::_base_/default_runtime.py',
    './datasets/bccd.py',
]
custom_imports = dict(imports=['epsd_mm'], allow_failed_imports=False)

# Without worker processes a killed cell goes on as if it had not been killed.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    batch_sampler=dict(
        _delete_=True,
        type='ClassPairBatchSampler',
        base=dict(type='AspectRatioBatchSampler'),
    ),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
max_epochs = 6
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# One cycle of AdamW learns in a few epochs what SGD's steps do not.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10),
)
param_scheduler = dict(
    type='OneCycleLR',
    eta_max=1e-3,
    total_steps=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
default_hooks = dict(
    epsd=dict(
        type='EPSDHook',
        sparsity=0.9,
        criterion=dict(type='ProsPr', steps=3, lr=0.001),
        sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0),
        # At 98 % a global ranking leaves convolutions of the last stage one
        # weight of two million, or none. The floor is below what it keeps of
        # them at 90 %, and holds for all methods alike.
        allocation=dict(type='global', min_density=0.001),
        # Scoring with 8, the default, would take a fifth of a run.
        draws=4,
        bad_boxes='drop',
    ),
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
