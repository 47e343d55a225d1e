# A detector on a whole detection set of blood cells: about ten minutes a run
# on one core. Three seeds decide nothing, so that nothing is claimed of them.
title = 'BCCD: Faster R-CNN with a ResNet-18, 320x240, from scratch'
setups = dict(
    bccd=dict(
        config='bccd_faster_rcnn.py',
        metric='pascal_voc/mAP',
        about='292 photographs to train, 72 to test, 6 epochs',
    )
)
methods = {
    'dense': dict(variant='dense'),
    'SD only': dict(variant='sd-only'),
    'Random': dict(variant='prune-only', criterion='Random'),
    'Simple Combination': dict(variant='simple-combination'),
    'EPSD': dict(),
}
sparsities = [0.9, 0.95, 0.98]
seeds = [0, 1, 2]
