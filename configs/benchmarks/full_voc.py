_base_ = '../_base_/suites/all_methods.py'
title = 'Pascal VOC 2007 + 2012: three detectors, from a pretrained backbone'
setups = {
    name: dict(
        config=f'../voc_{name}_epsd.py',
        metric='pascal_voc/mAP',
        # A network that a method has cut off is a result, and not an error.
        options={'default_hooks.epsd.allow_empty_layers': True},
    )
    for name in ('faster_rcnn', 'retinanet', 'ssd300')
}
# SynFlow and NTKSAP need outputs that detectors do not have.
methods = dict(
    _delete_=True,
    **{
        name: method
        for name, method in _base_.methods.items()
        if not name.startswith(('SynFlow', 'NTKSAP'))
    },
)
sparsities = [0.8, 0.9, 0.95]
