# The same with VGG-19.
_base_ = './vgg16_bn.py'
model = dict(backbone=dict(depth=19))
