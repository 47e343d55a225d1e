# What a tenth of the weights costs three one-stage detectors on a whole
# detection set of blood cells, dense beside it: six to fifteen minutes a run
# on one core. One seed tells whether they learn, and decides nothing.
title = 'BCCD: RTMDet-tiny, YOLOX-tiny and FCOS, 320x240, from scratch'
setups = {
    name: dict(
        config=f'bccd_{config}.py',
        metric='pascal_voc/mAP',
        about=f'292 photographs to train, 72 to test, {epochs} epochs',
    )
    for name, config, epochs in (
        ('RTMDet-tiny', 'rtmdet_tiny', 12),
        ('YOLOX-tiny', 'yolox_tiny', 12),
        ('FCOS', 'fcos', 6),
    )
}
methods = {'dense': dict(variant='dense'), 'EPSD': dict()}
sparsities = [0.9]
seeds = [0]
