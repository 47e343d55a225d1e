# The detector of blood cells beside pruning during and after training. NTK-SAP
# needs outputs that detectors do not have. A run has 438 steps, so that masks
# change more often than every hundred of them, and 6 epochs.
_base_ = ['./bccd.py', '../_base_/suites/rivals.py']
title = 'BCCD: EPSD beside pruning during and after training'
__often = {'default_hooks.epsd.policy.every': 20}
methods = {
    name: dict(method, options=__often) if 'policy' in method else method
    for name, method in _base_['_rivals'].items()
    if not name.startswith('NTK-SAP')
}
methods['IMP'] = dict(variant='prune-only', rounds=dict(share=0.2, rewind=1))
