# The same backbone and mask; the other parts of the detector stay dense.
_base_ = './voc_scored_rest.py'

__hook = _base_.default_hooks.epsd
default_hooks = dict(
    epsd=dict(
        _delete_=True,
        type='EPSDHook',
        masks=__hook.masks,
        prefix=__hook.prefix,
        sd_loss=__hook.sd_loss,
    )
)
