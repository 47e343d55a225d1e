"""The same, with DLB."""

_base_ = './larger_head.py'
train_dataloader = dict(batch_sampler=dict(type='OverlapBatchSampler'))
default_hooks = dict(
    epsd=dict(sd_loss=dict(_delete_=True, type='DLBLoss', temperature=3.0))
)
