# CS-KD with its authors' recipe for batches of 128: SGD without Nesterov, 200
# epochs, learning rate divided by 10 after half and three quarters. The
# config adds batch_sampler=dict(type='ClassPairBatchSampler') to its loader.
_base_ = './runtime.py'
default_hooks = dict(
    epsd=dict(sd_loss=dict(type='CSKDLoss', temperature=4.0, loss_weight=1.0))
)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = dict(type='MultiStepLR', milestones=[100, 150], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=200)
auto_scale_lr = dict(base_batch_size=128)
