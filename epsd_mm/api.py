"""Pruning from Python, for any module and for OpenMMLab models."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, distributed, nn

from .compat import is_mm_model, require_mm
from .engine.guessing import warn_of_untrained
from .engine.model_units import ModelUnits
from .engine.settings import Settings
from .engine.unpruned import warn_left_dense, warn_of_unpruned
from .logs import current_logger
from .pruning import (
    Ledger,
    MaskKeeper,
    Masks,
    ModuleObjective,
    find_masks,
    prunable_parameters,
)
from .structure import Channels, Groups

_TORCH_LOSSES = ('torch.nn.functional', 'torch.nn.modules.loss')
_WRAP = (
    'where batches are of images and labels write '
    'loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1])'
)


def prune(
    model: nn.Module,
    batches: Iterable[Any] | None = None,
    *,
    sparsity: float,
    criterion: Any = 'ProsPr',
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    sd_loss: Any = None,
    score_weights: dict | None = None,
    allocation: Any = None,
    structure: Any = None,
    groups: Groups | None = None,
    pattern: Any = None,
    draws: int | None = None,
    batches_per_step: int = 1,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    allow_empty_layers: bool = False,
    zero_layers: str = 'error',
    start: Masks | None = None,
    seed: int = 0,
) -> Masks:
    """Remove weights of a model before it is trained.

    The removed weights are set to zero in place; buffers, gradients, modes
    and random state stay as they are. To keep them at zero in a training
    loop of one's own::

        masks = epsd_mm.prune(model, loader, sparsity=0.9, loss=loss)
        epsd_mm.MaskKeeper(model, masks).watch(optimizer)

    Args:
        model: Any module, or an OpenMMLab model.
        batches: Batches as ``loss`` or the OpenMMLab model takes them, such
            as a data loader. Each draw takes the next ones; what ends is
            iterated again. Criteria that need none, such as ``Magnitude``,
            take none.
        sparsity: Fraction of the prunable weights to remove, in (0, 1).
        criterion: Name, config or object.
        loss: ``loss(model, batch)``, a scalar. Required for a plain module
            where the criterion needs one; an OpenMMLab model has its own.
        sd_loss: A self-distillation loss, for OpenMMLab models; for plain
            modules it is part of ``loss``.
        score_weights: ``dict(task=1.0, sd=1.0)``, see
            :class:`~epsd_mm.engine.EPSDHook`.
        allocation: How kept weights are divided among the layers.
        structure: What is kept together.
        groups: For a plain module and ``structure='channels'``, which of
            them there are: ``epsd_mm.structure.find_groups(model, images)``.
        pattern: The old name of ``structure``.
        draws: Independent draws over which normalised scores are averaged;
            defaults to 8 for criteria that need data and score once.
        batches_per_step: Batches whose losses are averaged into one step.
        include: Globs of the only parameter names to prune.
        exclude: Globs of weights that stay dense.
        allow_empty_layers: Accept masks that remove a whole layer.
        zero_layers: ``'dense'`` leaves layers whose scores are all exactly
            zero as they are, without a mask, and warns of them; they are
            an ``'error'`` otherwise.
        start: Masks to start from, of all prunable weights, such as those
            of an earlier round: what they remove stays removed and is part
            of ``sparsity``, and scores are of what they leave.
        seed: Seed of what scoring draws.

    Returns:
        The masks of the prunable weights; or, where those are not all that
        goes, the :class:`~epsd_mm.structure.Channels` that are kept. To keep
        the others out of training, give the keeper
        ``channels.masks(groups, dict(model.named_parameters()))``.

    Raises:
        ValueError: An option is wrong or has no effect, batches run out, or
            a layer cannot be ranked or would be emptied.
        TypeError: ``loss`` is missing or out of place.
        FloatingPointError: A loss, gradient or score is not finite.
        RuntimeError: Called in a distributed job.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f'model must be a torch.nn.Module, got {type(model).__name__}'
        )
    if not isinstance(start, Masks | None):
        raise TypeError(
            f'start must be Masks, got {type(start).__name__}: those that '
            'prune() returns, or Masks.load(path)'
        )
    if criterion is None:
        raise ValueError('criterion=None prunes nothing: name a criterion')
    if sparsity == 0:
        raise ValueError(
            f'sparsity={sparsity} removes nothing: give one in (0, 1)'
        )
    old = {} if pattern is None else dict(pattern=pattern)
    settings = Settings.build(
        **old,
        sparsity=sparsity,
        criterion=criterion,
        sd_loss=sd_loss,
        score_weights=score_weights,
        draws=draws,
        batches_per_step=batches_per_step,
        include=include,
        exclude=exclude,
        allocation=allocation,
        structure=structure,
        allow_empty_layers=allow_empty_layers,
        zero_layers=zero_layers,
        start=start,
        seed=seed,
    )
    _check_groups(model, settings, groups)
    name = type(settings.criterion).__name__
    if settings.data_free and sd_loss is not None:
        raise ValueError(
            f'sd_loss={sd_loss!r} has no effect: {name} looks at no loss'
        )
    if settings.needs_batches and batches is None:
        raise ValueError(f'{name} needs batches: give a data loader or a list')
    if batches is not None and not settings.needs_batches:
        raise ValueError(
            f'batches have no effect: {name} looks at none, remove them'
        )
    if _world_size() > 1:
        raise RuntimeError(
            'prune() works in one process: save its masks before the '
            'distributed job starts and load them there (Masks.load and '
            'MaskKeeper), or train with EPSDHook, which scores on all ranks'
        )
    stream = _Stream(() if batches is None else batches)
    if is_mm_model(model):
        if loss is not None:
            raise TypeError(
                f'{type(model).__name__} has a loss of its own: remove loss'
            )
        masks = _score_mm_model(model, stream, settings)
    else:
        masks = _score_module(model, stream, settings, loss, groups)
    if settings.units:
        MaskKeeper(model, *ModelUnits(model, settings, groups).masks(masks))
    else:
        MaskKeeper(model, masks)
    return masks


def _check_groups(
    model: nn.Module, settings: Settings, groups: Groups | None
) -> None:
    """Raise where groups are missing or out of place."""
    needed = settings.units is not None and not is_mm_model(model)
    if groups is not None and not needed:
        raise TypeError(
            'groups are for a plain module and structure="channels": an '
            'OpenMMLab model has its own, and weights go one by one; remove '
            'groups'
        )
    if needed and groups is None:
        raise TypeError(
            f'structure={settings.units.kind!r} needs groups=..., which '
            'epsd_mm.structure.find_groups(model, images) finds in '
            f'{type(model).__name__}'
        )
    if needed:
        if not isinstance(groups, Groups):
            raise TypeError(
                f'groups must be Groups, got {type(groups).__name__}: those '
                'that epsd_mm.structure.find_groups(model, images) finds'
            )
        groups.check_model(model)
    if needed and settings.units.of != 'weights':
        raise ValueError(
            f'of={settings.units.of!r} counts what an OpenMMLab model does '
            'in a training step: leave it out for a plain module'
        )


def _check_loss(loss: Callable[[nn.Module, Any], Tensor]) -> None:
    """Raise where it cannot be called with a model and a batch."""
    name = getattr(loss, '__name__', type(loss).__name__)
    if getattr(loss, '__module__', None) in _TORCH_LOSSES:
        raise TypeError(
            f'loss={name} is called with predictions and labels, and prune '
            f'calls loss(model, batch): {_WRAP}'
        )
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError as e:
        raise TypeError(
            f'loss={name} cannot be called as loss(model, batch): {e}; {_WRAP}'
        ) from e
    except ValueError:  # of built-in functions nobody knows
        pass


def _score_mm_model(
    model: nn.Module, stream: '_Stream', settings: Settings
) -> Masks:
    require_mm(f'{type(model).__name__} of mmengine')
    from .engine.scoring_job import score_model

    masks, _ = score_model(model, stream, settings, current_logger())
    return masks


def _score_module(
    model: nn.Module,
    stream: '_Stream',
    settings: Settings,
    loss: Callable[[nn.Module, Any], Tensor] | None,
    groups: Groups | None,
) -> Masks:
    if settings.sd_loss is not None:
        raise TypeError(
            f'sd_loss={type(settings.sd_loss).__name__} needs an OpenMMLab '
            'model, whose predictions it knows where to find: add the term '
            'to loss(model, batch) instead, such as '
            'epsd_mm.distillation.cs_kd_loss'
        )
    if settings.data_free == (loss is not None):
        name = type(settings.criterion).__name__
        raise TypeError(
            f'{name} looks at no loss: remove loss'
            if settings.data_free
            else f'{name} needs loss=..., a function of (model, batch) that '
            'returns a scalar'
        )
    if loss is not None:
        _check_loss(loss)
    start = settings.read_start()
    if settings.units:
        units = ModelUnits(model, settings, groups)
        criterion, target = units.criterion, units.budget()
        prunable = Channels.all_of(units.groups)
    else:
        weights = prunable_parameters(
            model, settings.include, settings.exclude
        )
        criterion, target = settings.criterion, settings.target(weights)
        prunable = Masks.ones_like(weights)
        if start:
            target.check(start)
    logger = current_logger()
    warn_of_unpruned(model, settings, logger)
    found = find_masks(
        ModuleObjective(model, loss),
        criterion,
        {n: p for n, p in model.named_parameters() if p.requires_grad},
        prunable,
        stream,
        target,
        start=start and Ledger(masks=start),
        **settings.search,
    )
    warn_left_dense(found, logger, 'units' if settings.units else 'weights')
    name = type(settings.criterion).__name__
    warn_of_untrained(name, found.draws, logger)
    if settings.units:
        return Channels(found.masks).in_all(units.groups)
    return found.masks


def _world_size() -> int:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


class _Stream:
    """Hands the batches of an iterable to one draw after the other.

    No draw sees an item twice: where one begins half way, the iterable
    may start again for it; where it begins at the start, that is all.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self.iterator = iter(())
        self.fresh = False

    def __call__(self, draw: int) -> Iterator[Any]:
        restarted = self.fresh
        while True:
            for batch in self.iterator:
                self.fresh = False
                yield batch
            if restarted:
                return
            self.iterator, restarted, self.fresh = (
                iter(self.batches),
                True,
                True,
            )
