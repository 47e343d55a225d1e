# One detector, since each round of a lottery ticket is a whole training. A
# student (Prune, then Distill) has no pretrained backbone, and belongs in no
# table with those that have one. NTK-SAP needs outputs that detectors lack.
_base_ = ['./full_voc.py', '../_base_/suites/rivals.py']
title = 'Pascal VOC 2007 + 2012: Faster R-CNN beside what prunes later'
setups = dict(_delete_=True, faster_rcnn=_base_['setups']['faster_rcnn'])
methods = dict(
    _delete_=True,
    **{
        name: method
        for name, method in _base_['_rivals'].items()
        if not name.startswith(('NTK-SAP', 'Prune, then Distill'))
    },
)
methods['IMP'] = dict(variant='prune-only', rounds=dict(share=0.2, rewind=1))
