"""The same, with torch's own initialisation of the classifier.

mmpretrain's has a standard deviation of 0.01, torch's is uniform with 0.07.
"""

_base_ = './resnet20_cifar10_jpeg.py'
model = dict(head=dict(init_cfg=None))
