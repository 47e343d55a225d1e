# One detector, since each round of a lottery ticket is a whole training.
# NTK-SAP needs outputs that detectors lack. A student (Prune, then Distill)
# starts from scratch, for as many epochs, where the others have a pretrained
# backbone whose first layers stay as they are: it is at a disadvantage, and
# must train every layer, as a teacher of its own does, too.
_base_ = ['./full_voc.py', '../_base_/suites/rivals.py']
title = 'Pascal VOC 2007 + 2012: Faster R-CNN beside what prunes later'
setups = dict(_delete_=True, faster_rcnn=_base_['setups']['faster_rcnn'])
methods = dict(
    _delete_=True,
    **{
        name: method
        for name, method in _base_['_rivals'].items()
        if not name.startswith('NTK-SAP')
    },
)
methods['IMP'] = dict(variant='prune-only', rounds=dict(share=0.2, rewind=1))
__all_layers = {
    'model.backbone.frozen_stages': -1,
    'model.backbone.norm_eval': False,
}
methods['GMP of all layers'] = dict(methods['GMP'], options=__all_layers)
methods['Prune, then Distill'] = dict(
    student_of='GMP of all layers',
    options={**methods['Prune, then Distill']['options'], **__all_layers},
)
