# PS-KD with its authors' recipe for batches of 128: SGD with Nesterov's
# momentum, 300 epochs, learning rate divided by 10 after 150 and 225.
_base_ = './runtime.py'
default_hooks = dict(epsd=dict(sd_loss=dict(type='PSKDLoss', alpha=0.8)))
optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
)
param_scheduler = dict(type='MultiStepLR', milestones=[150, 225], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=300)
auto_scale_lr = dict(base_batch_size=128)
