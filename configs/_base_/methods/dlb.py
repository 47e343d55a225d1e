# DLB with its authors' recipe: 64 fresh and 64 repeated images a batch, SGD
# with Nesterov's momentum, 240 epochs, learning rate divided by 10 after 150,
# 180 and 210. Temperature and weight have no defaults in the authors' code.
# The config adds batch_sampler=dict(type='OverlapBatchSampler') to its loader.
_base_ = './runtime.py'
default_hooks = dict(
    epsd=dict(sd_loss=dict(type='DLBLoss', temperature=3.0, loss_weight=1.0))
)
optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
)
param_scheduler = dict(
    type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1
)
train_cfg = dict(by_epoch=True, max_epochs=240)
auto_scale_lr = dict(base_batch_size=128)
