"""The runs that a config of EPSD is compared with."""

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from epsd_mm.config_types import find_hook, policy_of, type_name
from epsd_mm.distillation import Need
from epsd_mm.registry import build_criterion, build_sd_loss

#: What each variant prunes by and trains with.
VARIANTS = {
    'epsd': 'scored and trained with self-distillation',
    'simple-combination': 'scored by the plain loss, trained with '
    'self-distillation',
    'prune-only': 'scored and trained by the plain loss',
    'sd-only': 'dense, trained with self-distillation',
    'dense': 'dense, trained by the plain loss',
}
#: What other methods set in the hook, by the word that a suite has for them.
POLICIES = {
    'GMP': dict(
        criterion=None, allocation='uniform', policy=dict(type='Gradual')
    ),
    'SET': dict(criterion='Random', allocation='erk', policy=dict(type='SET')),
    'RigL': dict(
        criterion='Random', allocation='erk', policy=dict(type='RigL')
    ),
}
# What a dense run takes of the hook, so that it sees the same data.
_OF_DATA = ('bad_boxes', 'batch_augments')
# What a dense run with self-distillation takes of it.
_OF_TRAINING = ('type', 'sd_loss', *_OF_DATA)
# What a criterion that looks at no image makes no use of.
_OF_DRAWING = ('draws', 'batches_per_step', 'score_weights', 'compare_plain')


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
    scores = hook.get('criterion', True) is not None or policy_of(cfg)
    if hook.get('sd_loss') is None or not scores:
        raise ValueError(
            'variants are made from a config of EPSD, whose hook has a '
            f'criterion and an sd_loss; this one has {dict(hook)}: add what '
            'it lacks, or train it as it is, without a variant'
        )
    needs = build_sd_loss(hook.sd_loss).needs
    if variant == 'simple-combination':
        criterion = build_criterion(hook.get('criterion', 'ProsPr'))
        if criterion is not None and not criterion.data_free:
            hook.score_weights = dict(task=1.0, sd=0.0)
        # Two masks of the plain loss are left to compare.
        hook.pop('compare_plain', None)
    elif variant == 'prune-only':
        hook.sd_loss = None
        for name in ('score_weights', 'compare_plain'):
            hook.pop(name, None)
        _plain_batches(cfg, needs)
    elif variant == 'sd-only':
        owner[key] = ConfigDict(_taken(hook, _OF_TRAINING), criterion=None)
    elif variant == 'dense':
        owner[key] = ConfigDict(_taken(hook, _OF_DATA), type='DenseHook')
        _plain_batches(cfg, needs)


def apply_sd_loss(cfg: Config, name: str) -> None:
    """Let a config of EPSD use another self-distillation loss, in place.

    The loss has its default settings, and the batches are as it needs them;
    ``batch_size`` stays the number of images with a task loss, so that an
    epoch of DLB, which repeats half of each batch, has twice as many steps.
    Model, data, recipe and seed stay. Nothing happens where the config has
    that loss.

    Args:
        cfg: A config with an ``EPSDHook`` that has an ``sd_loss``.
        name: Of a registered loss.

    Raises:
        ValueError: There is no such loss, or the config is no EPSD.
    """
    loss = build_sd_loss(name)
    owner, key = _hook(cfg)
    hook = owner[key]
    if hook.get('sd_loss') is None:
        raise ValueError(
            'the EPSDHook of the config has no sd_loss to replace: add one; '
            f'it has {dict(hook)}'
        )
    before = build_sd_loss(hook.sd_loss)
    if type(before) is type(loss):
        return
    hook.sd_loss = ConfigDict(type=name)
    _unwrap(cfg, before.needs)
    if loss.needs.sampler is not None:
        _wrap(cfg, loss.needs)


def apply_criterion(cfg: Config, criterion: str | dict) -> None:
    """Let a config of EPSD score by another criterion, in place.

    What would have no effect beside it goes: of one that looks at no image
    all that says how to draw, of one that works in rounds the number of
    draws, which is then its own default.

    Args:
        cfg: A config with an ``EPSDHook``.
        criterion: Name or config dict.

    Raises:
        ValueError: There is no such criterion, or the config is no EPSD.
    """
    built = build_criterion(criterion)
    owner, key = _hook(cfg)
    hook = owner[key]
    if isinstance(criterion, str):
        criterion = dict(type=criterion)
    hook.criterion = ConfigDict(criterion)
    without_effect = ()
    if built.data_free:
        without_effect = _OF_DRAWING
    elif built.schedule.rounds > 1:
        without_effect = ('draws',)
    for name in without_effect:
        hook.pop(name, None)


def apply_policy(cfg: Config, name: str) -> None:
    """Let masks change while a config of EPSD trains, in place.

    Training starts from what the authors of the method start from: all
    weights, or random masks; and layers have the densities that they give
    them: one for all, or Erdős–Rényi-Kernel. What would have no effect
    beside that goes.

    Args:
        cfg: A config with an ``EPSDHook``.
        name: One of :data:`POLICIES`.

    Raises:
        ValueError: There is no such method, or the config is no EPSD.
    """
    if name not in POLICIES:
        raise ValueError(
            f'policy={name!r} must be one of {", ".join(POLICIES)}; of '
            "another one set the options of the hook, 'default_hooks.epsd."
            "policy.type' and so on"
        )
    owner, key = _hook(cfg)
    hook = owner[key]
    hook.update(ConfigDict(copy.deepcopy(POLICIES[name])))
    for option in _OF_DRAWING:
        hook.pop(option, None)
    if hook.criterion is None:
        hook.pop('zero_layers', None)


def apply_options(cfg: Config, **options: Any) -> None:
    """Set options of the ``EPSDHook`` of a config, in place.

    Raises:
        ValueError: The config has no such hook.
    """
    owner, key = _hook(cfg)
    owner[key].update(options)


def apply_pruned(cfg: Config, masks: str | None = None) -> None:
    """Let a config train what was pruned by it before, in place.

    Nothing is scored any more; what trains, and on which data, stays.

    Args:
        cfg: A config with an ``EPSDHook``.
        masks: Path of those that hold; None where channels are gone.
    """
    owner, key = _hook(cfg)
    hook = owner[key]
    if masks is None and hook.get('sd_loss') is None:
        owner[key] = ConfigDict(_taken(hook, _OF_DATA), type='DenseHook')
        return
    owner[key] = ConfigDict(_taken(hook, _OF_TRAINING), criterion=None)
    if masks is not None:
        owner[key].masks = masks


def apply_teacher(cfg: Config, config: str, checkpoint: str) -> None:
    """Let a config train without pruning, taught by a trained network.

    Data and recipe stay; batches are plain ones, see :func:`apply_variant`.

    Args:
        cfg: A config with an ``EPSDHook``.
        config: Path of the config that the teacher was trained with.
        checkpoint: Path of what it has learned.
    """
    owner, key = _hook(cfg)
    hook = owner[key]
    before = build_sd_loss(hook.get('sd_loss'))
    if before is not None:
        _plain_batches(cfg, before.needs)
    teacher = dict(config=config, checkpoint=checkpoint)
    owner[key] = ConfigDict(
        _taken(hook, ('type', *_OF_DATA)),
        criterion=None,
        sd_loss=dict(type='KD', teacher=teacher),
    )


def _hook(cfg: Config) -> tuple:
    """Where the hook's config is: its container, and its place there."""
    found = find_hook(cfg, 'EPSDHook')
    if found is None:
        raise ValueError(
            'the config has no EPSDHook to make variants of: add it to '
            'default_hooks'
        )
    return found


def _taken(hook: ConfigDict, names: Sequence[str]) -> dict:
    return {name: hook[name] for name in names if name in hook}


def _plain_batches(cfg: Config, needs: Need) -> None:
    """As many steps an epoch, each with the images that are new in it."""
    if not _unwrap(cfg, needs):
        return
    loader, scale = cfg.train_dataloader, cfg.get('auto_scale_lr', {})
    loader.batch_size = needs.plain_size(loader.batch_size)
    if 'base_batch_size' in scale:
        scale.base_batch_size = needs.plain_size(scale.base_batch_size)


def _unwrap(cfg: Config, needs: Need) -> bool:
    """Put what the sampler of a loss wraps in its place, if it is there."""
    loader = cfg.train_dataloader
    sampler = loader.get('batch_sampler')
    if needs.sampler is None or type_name(sampler) != needs.sampler:
        return False
    loader.batch_sampler = sampler.get('base')
    if sampler.get('drop_last') is not None:
        loader.drop_last = sampler.drop_last
    return True


def _wrap(cfg: Config, needs: Need) -> None:
    """Put the sampler that a loss needs around what makes the batches."""
    loader = cfg.train_dataloader
    base = loader.get('batch_sampler')
    loader.batch_sampler = ConfigDict(type=needs.sampler)
    if base is not None:
        loader.batch_sampler.base = base
    elif 'drop_last' in loader:
        loader.batch_sampler.drop_last = loader.pop('drop_last')
