"""The runs that a config of EPSD is compared with."""

from mmengine.config import Config, ConfigDict

#: What each variant prunes by and trains with.
VARIANTS = {
    'epsd': 'scored and trained with self-distillation',
    'simple-combination': 'scored by the plain loss, trained with '
    'self-distillation',
    'prune-only': 'scored and trained by the plain loss',
    'sd-only': 'dense, trained with self-distillation',
    'dense': 'dense, trained by the plain loss',
}
_SAMPLERS = ('ClassPairBatchSampler', 'OverlapBatchSampler')
# What a dense run with self-distillation takes of the hook.
_OF_TRAINING = ('type', 'sd_loss')


def apply_variant(cfg: Config, variant: str) -> None:
    """Turn a config of EPSD into one it is compared with, in place.

    Model, data, recipe and seed stay. A plain run takes its batches from
    the batch sampler that the one of self-distillation wraps; of DLB's
    overlapping batches those are the fresh halves, in as many steps.

    Args:
        cfg: A config with an ``EPSDHook`` that has an ``sd_loss``.
        variant: One of :data:`VARIANTS`.

    Raises:
        ValueError: There is no such variant, or the config is no EPSD.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f'variant={variant!r} must be one of {", ".join(VARIANTS)}'
        )
    owner, key = _hook(cfg)
    hook = owner[key]
    if hook.get('sd_loss') is None or hook.get('criterion', True) is None:
        raise ValueError(
            'variants are made from a config of EPSD, whose hook has a '
            f'criterion and an sd_loss; this one has {dict(hook)}'
        )
    if variant == 'simple-combination':
        hook.score_weights = dict(task=1.0, sd=0.0)
        # Two masks of the plain loss are left to compare.
        hook.pop('compare_plain', None)
    elif variant == 'prune-only':
        hook.sd_loss = None
        for name in ('score_weights', 'compare_plain'):
            hook.pop(name, None)
        _plain_batches(cfg)
    elif variant == 'sd-only':
        owner[key] = ConfigDict(
            {name: hook[name] for name in _OF_TRAINING}, criterion=None
        )
    elif variant == 'dense':
        owner[key] = ConfigDict(type='DenseHook')
        _plain_batches(cfg)


def _hook(cfg: Config) -> tuple:
    """Where the hook's config is: its container, and its place there."""
    hooks = cfg.get('default_hooks') or {}
    for name, hook in hooks.items():
        if hook is not None and hook.get('type') == 'EPSDHook':
            return hooks, name
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        if hook.get('type') == 'EPSDHook':
            return cfg.custom_hooks, index
    raise ValueError('the config has no EPSDHook to make variants of')


def _plain_batches(cfg: Config) -> None:
    loader = cfg.train_dataloader
    sampler = loader.get('batch_sampler')
    if sampler is not None and sampler.get('type') in _SAMPLERS:
        loader.batch_sampler = sampler.get('base')
        if sampler.type == 'OverlapBatchSampler':
            # As many steps an epoch, each with the fresh half.
            loader.batch_size //= 2
        if sampler.get('drop_last') is not None:
            loader.drop_last = sampler.drop_last
