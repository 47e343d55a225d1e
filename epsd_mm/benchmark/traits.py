"""What a method is, told from its config and not from its name."""

import json
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import find_hook, type_name
from epsd_mm.engine.settings import described, settings_of
from epsd_mm.pruning import Criterion

# A partner is seen beside each image.
_PAIRED = 'ClassPairBatchSampler'
_OF_OBJECTIVE = ('sd_loss', 'score_weights')
_OF_STEPS = ('steps', 'lr', 'momentum', 'first_order')
_OF_LAYERS = ('include', 'exclude', 'zero_layers')


@dataclass(frozen=True)
class Traits:
    """What tells one method from another, as far as claims go.

    Attributes:
        images_per_step: Images that one training step looks at.
        partners_per_step: Those of them that are looked at without gradient.
        epochs: Of training; None where it is told in iterations.
        criterion: Class of what scores, or of the policy that changes masks
            while it trains; None for a dense network.
        scorer: All that decides the scores but the objective, as text.
        steps: Inner steps of the criterion, where it has them.
        scores_sd: Whether self-distillation is part of what is scored.
        objective: Weights of the terms that are scored, as text.
        sd_loss: Class of the loss that it is trained with, or None.
        training: That loss with its settings, as text.
        given_masks: Whether it starts from the masks of another run.
        batches_per_step: Batches of one evaluation while scoring.
        hessian_products: Of an evaluation while scoring.
    """

    images_per_step: int
    epochs: int | None
    criterion: str | None = None
    scorer: str | None = None
    steps: int | None = None
    scores_sd: bool = False
    objective: str | None = None
    sd_loss: str | None = None
    training: str | None = None
    given_masks: bool = False
    batches_per_step: int = 1
    partners_per_step: int = 0
    hessian_products: float = 0.0

    @property
    def role(self) -> str:
        """What the method is in a comparison.

        One of :data:`~epsd_mm.engine.variants.VARIANTS`, whatever variant
        or options it was made by, or ``given``: it has masks of another run.
        """
        if self.given_masks:
            return 'given'
        if self.criterion is None:
            return 'dense' if self.sd_loss is None else 'sd-only'
        if self.sd_loss is None:
            return 'prune-only'
        return 'epsd' if self.scores_sd else 'simple-combination'

    @property
    def scorer_but_steps(self) -> str:
        """The scorer, whatever its inner steps."""
        scorer = json.loads(self.scorer)
        for name in _OF_STEPS:
            scorer['settings'].pop(name, None)
        return _text(scorer)


def traits_of(cfg: Config) -> Traits:
    """The traits of a run, from its resolved config."""
    loader = cfg.train_dataloader
    paired = type_name(loader.get('batch_sampler')) == _PAIRED
    by_epoch = cfg.train_cfg.get('by_epoch', True)
    common = dict(
        images_per_step=loader.batch_size * (2 if paired else 1),
        partners_per_step=loader.batch_size if paired else 0,
        epochs=cfg.train_cfg.get('max_epochs') if by_epoch else None,
    )
    settings = settings_of(cfg)
    if settings is None:
        return Traits(**common)
    hooks, place = find_hook(cfg, 'EPSDHook')
    options = hooks[place]
    about = settings.describe()
    scorer = {k: v for k, v in about.items() if k not in _OF_OBJECTIVE}
    scorer |= {name: options.get(name) for name in _OF_LAYERS}
    criterion = about['criterion']
    if settings.changes:
        scorer['policy'] = described(settings.policy)
        criterion = type(settings.policy).__name__
    for name in getattr(settings.criterion, 'cost_only', ()):
        scorer['settings'].pop(name, None)
    return Traits(
        criterion=criterion,
        scorer=_text(scorer),
        steps=(about['settings'] or {}).get('steps'),
        scores_sd=settings.sd > 0 and not settings.data_free,
        objective=_text(about['score_weights']),
        sd_loss=settings.sd_loss and type(settings.sd_loss).__name__,
        training=_text(about['sd_loss']),
        given_masks=settings.masks is not None,
        batches_per_step=settings.batches_per_step,
        hessian_products=_hessian_products(settings.criterion),
        **common,
    )


def _hessian_products(criterion: Criterion | None) -> float:
    if criterion is None or not criterion.steps_per_draw:
        return 0.0
    return criterion.hessian_products / criterion.steps_per_draw


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
