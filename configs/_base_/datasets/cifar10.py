# mmpretrain's CIFAR-10 in batches of 128, read without unpickling code.
_base_ = 'mmpretrain::_base_/datasets/cifar10_bs16.py'
train_dataloader = dict(
    batch_size=128,
    dataset=dict(type='CIFAR10Batches', data_root='data/cifar10'),
)
val_dataloader = dict(
    batch_size=128,
    dataset=dict(type='CIFAR10Batches', data_root='data/cifar10'),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='Calibration')]
test_evaluator = val_evaluator
