# YOLOX-tiny, as wide and deep as mmdet has it, on BCCD from scratch. Images
# are not mixed, as its own schedule does: a mixed object is nobody's to
# remember.
_base_ = [
    '../_base_/models/yolox_tiny.py',
    '../_base_/bccd_from_scratch.py',
]

model = dict(bbox_head=dict(num_classes=3))
# Few objects reach these, or they start with a standard deviation of 0.01: a
# global ranking would leave next to nothing of them. With a larger lr the
# meta-gradient runs away on its way back.
default_hooks = dict(
    epsd=dict(
        criterion=dict(lr=2e-7),
        exclude=['neck.out_convs.*', 'bbox_head.*'],
    )
)
# Twice as long as the Faster R-CNN beside it, with less of it to warm up.
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = dict(total_steps=max_epochs, pct_start=0.1)
