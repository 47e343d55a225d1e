# Knowledge distillation (Hinton et al., 2015) of a dense network; temperature
# and alpha are ours. Stands beside a whole config of mmpretrain or mmdet in
# _base_, which keeps its recipe and says who teaches:
# _base_.custom_hooks[0].sd_loss.teacher = dict(config=PATH, checkpoint=PATH)
custom_hooks = [
    dict(
        type='epsd_mm.engine.EPSDHook',
        criterion=None,
        sd_loss=dict(type='KD', temperature=4.0, alpha=0.9),
    )
]
