"""What a method is, told from its config and not from its name."""

import json
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import epsd_hook, type_name
from epsd_mm.engine.settings import Settings, described, settings_of
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
        epochs: Of its schedule; None where that is told in iterations.
        criterion: Class of what scores, or of the policy that changes masks
            while it trains; None for a dense network.
        scorer: All that decides the scores but the objective, as text.
        steps: Inner steps of the criterion, where it has them.
        scores_sd: Whether self-distillation is part of what is scored.
        data_free: Whether the scores take neither images nor a loss.
        objective: Weights of the terms that are scored, as text.
        sd_loss: Class of the loss that it is trained with, or None.
        training: That loss with its settings, as text.
        given_masks: Whether it starts from the masks of another run.
        hessian_products: Of a step of scoring.
        replays: Of a step of scoring: times that it is evaluated once more,
            for a product of its Hessian.
        taught_per_step: Images of a training step that a teacher looks at.
        shown_per_step: Images of a step of scoring that the network looks
            at once more, to have something to recall.
        shown_first: Images that it looks at before each draw, likewise: how
            many for each step of it.
        after_training: Whether what is pruned, or the pruned network that
            it is as large as, has been trained before; by whatever masks.
        while_training: Whether its masks change while it trains.
        rewound_to: Epoch of another training that it goes back to, from
            which it trains; 0 where it trains all of its schedule.
        student: Whether it is a dense network as large as what is left of
            its teacher.
    """

    images_per_step: int
    epochs: int | None
    criterion: str | None = None
    scorer: str | None = None
    steps: int | None = None
    scores_sd: bool = False
    data_free: bool = False
    objective: str | None = None
    sd_loss: str | None = None
    training: str | None = None
    given_masks: bool = False
    partners_per_step: int = 0
    hessian_products: float = 0.0
    replays: float = 0.0
    taught_per_step: int = 0
    shown_per_step: int = 0
    shown_first: float = 0.0
    after_training: bool = False
    while_training: bool = False
    rewound_to: int = 0
    student: bool = False

    @property
    def epochs_trained(self) -> int | None:
        """Epochs of its own; None where training is told in iterations."""
        return None if self.epochs is None else self.epochs - self.rewound_to

    @property
    def own_per_step(self) -> int:
        """Images of a step that have a gradient."""
        return self.images_per_step - self.partners_per_step

    @property
    def prunes_early(self) -> bool:
        """Whether all that is removed goes before the first step."""
        return self.criterion is not None and not self.prunes_late

    @property
    def prunes_late(self) -> bool:
        """Whether it prunes while it trains, or what was trained before."""
        return self.after_training or self.while_training

    @property
    def role(self) -> str:
        """What the method is in a comparison.

        One of :data:`~epsd_mm.engine.variants.VARIANTS`, whatever variant
        or options it was made by; or ``taught``: it learns from a network
        that was trained before; or ``given``: it has masks of another run;
        or ``later``: it is no EPSD, though self-distillation is part of
        what it scores and of its training, since it prunes late.
        """
        if self.taught_per_step:
            return 'taught'
        if self.given_masks:
            return 'given'
        if self.criterion is None:
            return 'dense' if self.sd_loss is None else 'sd-only'
        if self.sd_loss is None:
            return 'prune-only'
        if not self.scores_sd:
            return 'simple-combination'
        return 'later' if self.prunes_late else 'epsd'

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
        rewound_to=_epoch_gone_back_to(cfg),
        student=_is_student(cfg),
    )
    settings = settings_of(cfg)
    if settings is None:
        return Traits(**common)
    options = epsd_hook(cfg)
    about = settings.describe()
    scorer = {k: v for k, v in about.items() if k not in _OF_OBJECTIVE}
    scorer |= {name: options.get(name) for name in _OF_LAYERS}
    criterion = about['criterion']
    if settings.changes:
        scorer['policy'] = described(settings.policy)
        criterion = type(settings.policy).__name__
    for name in getattr(settings.criterion, 'cost_only', ()):
        scorer['settings'].pop(name, None)
    trained = _pruned_after_training(cfg)
    if trained is not None:
        scorer['after_training'], criterion = trained
    needs = settings.sd_loss and settings.sd_loss.needs
    scores_sd = settings.sd > 0 and not settings.data_free
    shown = scores_sd and needs.shows_each
    return Traits(
        criterion=criterion,
        scorer=_text(scorer),
        steps=(about['settings'] or {}).get('steps'),
        scores_sd=scores_sd,
        data_free=bool(settings.criterion and settings.data_free),
        objective=_text(about['score_weights']),
        sd_loss=settings.sd_loss and type(settings.sd_loss).__name__,
        training=_text(about['sd_loss']),
        given_masks=settings.masks is not None and not trained,
        hessian_products=_of_a_step(settings.criterion, 'hessian_products'),
        replays=_of_a_step(settings.criterion, 'replays'),
        taught_per_step=loader.batch_size if needs and needs.taught else 0,
        shown_per_step=loader.batch_size if shown else 0,
        shown_first=_shown_first(settings, loader.batch_size),
        after_training=trained is not None
        or common['student']
        or _puts_masks_on_trained(cfg),
        while_training=settings.changes,
        **common,
    )


def _epoch_gone_back_to(cfg: Config) -> int:
    origin = cfg.get('weights_of') or {}
    return (origin.get('rewound_to') or {}).get('epoch', 0)


def _is_student(cfg: Config) -> bool:
    return bool((cfg.get('teacher_of') or {}).get('narrow'))


def _puts_masks_on_trained(cfg: Config) -> bool:
    """Whether a trained network gets masks that were not scored on it."""
    origin = cfg.get('weights_of') or {}
    lent = cfg.get('masks_of') is not None
    return lent and bool(origin) and 'rewound_to' not in origin


def _pruned_after_training(cfg: Config) -> tuple[dict, str] | None:
    """How a trained network is pruned, and by what; None if it is not."""
    origin, scored = cfg.get('weights_of') or {}, cfg
    lent = cfg.get('masks_of')
    if lent is not None:
        scored = lent.run
        if lent.shuffled or 'weights_of' not in scored:
            return None
    elif not origin or 'rewound_to' in origin:
        return None
    settings = settings_of(scored)
    if settings.criterion is None and not settings.changes:
        return None
    by = settings.describe()
    how = {k: by[k] for k in ('criterion', 'settings', 'allocation')}
    how['rewound_to'] = origin.get('rewound_to') if lent else 'not rewound'
    what = by['criterion']
    if settings.changes:
        what = type(settings.policy).__name__
    return how, f'{what} after training'


def _of_a_step(criterion: Criterion | None, what: str) -> float:
    if criterion is None or not criterion.steps_per_draw:
        return 0.0
    return getattr(criterion, what) / criterion.steps_per_draw


def _shown_first(settings: Settings, batch_size: int) -> float:
    """A batch a draw, at the network's own weights."""
    if not settings.sd or settings.data_free:
        return 0.0
    if not settings.sd_loss.needs.shows_first:
        return 0.0
    batches = settings.criterion.steps_per_draw * settings.batches_per_step
    return batch_size / batches


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
