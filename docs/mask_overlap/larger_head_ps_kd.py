"""The same, with PS-KD."""

_base_ = './larger_head.py'
train_dataloader = dict(batch_sampler=None)
default_hooks = dict(
    epsd=dict(sd_loss=dict(_delete_=True, type='PSKDLoss', alpha=0.8))
)
