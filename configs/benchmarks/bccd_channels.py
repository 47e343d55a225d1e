# Whole channels of a detector, gone before its first step: about six minutes a
# run on one core. What is asked is the price of half the multiply-adds, and
# whether scores matter: channels at random and a network that is narrower
# everywhere are beside. Multiply-adds are those of an image with 14 proposals;
# three seeds decide nothing, so nothing is claimed.
title = 'BCCD: half of the multiply-adds of a Faster R-CNN with a ResNet-18'
setups = dict(
    bccd=dict(
        config='bccd_faster_rcnn.py',
        metric='pascal_voc/mAP',
        about='292 photographs to train, 72 to test, 6 epochs',
    )
)
__hook = 'default_hooks.epsd.'
__units = {
    f'{__hook}structure': dict(type='channels', of='multiply_adds'),
    f'{__hook}allocation.min_density': 0.01,
}
# By the same factor everywhere. The units' half is of layers that may shrink;
# the FPN's outputs and the RPN stay whole, so that .55 of all multiply-adds
# are left (get_flops.py), and as many has this one: .54. Its weights cannot
# be those of the wide one, only its data and their order are.
__narrow = {
    'model.backbone.base_channels': 46,
    'model.backbone.stem_channels': 46,
    'model.neck.in_channels': [46, 92, 184, 368],
    'model.neck.out_channels': 50,
    'model.rpn_head.in_channels': 50,
    'model.rpn_head.feat_channels': 50,
    'model.roi_head.bbox_roi_extractor.out_channels': 50,
    'model.roi_head.bbox_head.in_channels': 50,
    'model.roi_head.bbox_head.fc_out_channels': 184,
}
methods = {
    'dense': dict(variant='dense'),
    'narrower, dense': dict(variant='dense', options=__narrow),
    'random units': dict(
        variant='prune-only', criterion='Random', options=__units
    ),
    'SNIP units': dict(
        variant='prune-only', criterion='SNIP', options=__units
    ),
    'EPSD units': dict(options=__units),
}
sparsities = [0.5]
seeds = [0, 1, 2]
