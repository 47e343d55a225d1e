"""The settings of a job, checked when they are given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any

from torch import Tensor

from epsd_mm.datasets.bad_boxes import check_bad_boxes
from epsd_mm.digest import digest
from epsd_mm.distillation.losses import SelfDistillationLoss
from epsd_mm.json_values import is_plain
from epsd_mm.old_spellings import in_present_words
from epsd_mm.policies import Fixed, MaskPolicy
from epsd_mm.pruning import (
    Allocation,
    Criterion,
    Masks,
    Schedule,
    Structure,
    Target,
)
from epsd_mm.pruning.allocation import check_sparsity
from epsd_mm.pruning.selection import check_combination
from epsd_mm.pruning.zero_layers import check_choice
from epsd_mm.registry import (
    build_allocation,
    build_criterion,
    build_policy,
    build_sd_loss,
    build_structure,
)
from epsd_mm.structure import Units

from .mixing import check_batch_augments
from .policy_settings import check_policy

DEFAULT_DRAWS = 8
_BUILDERS = dict(
    criterion=build_criterion,
    sd_loss=build_sd_loss,
    allocation=build_allocation,
    structure=build_structure,
    policy=build_policy,
)


@dataclass(frozen=True)
class Settings:
    """What :class:`~epsd_mm.engine.EPSDHook` is told.

    Args:
        sparsity: Fraction of the prunable weights to remove, in (0, 1).
        criterion: Name, config or object, ``'ProsPr'`` by default; ``None``
            trains without pruning, or under given masks alone.
        sd_loss: Name, config or object; ``None`` for plain pruning at
            initialisation.
        score_weights: Weights ``task`` and ``sd`` of the two terms in the
            objective that is scored: (1, 1) is the training objective,
            (1, 0) the paper's Simple Combination, (0, 1) the
            self-distillation term alone. Training minimises (1, 1) always.
        draws: Independent draws of the data over which normalised scores
            are averaged; the paper's formula is one draw. Defaults to 8 for
            a criterion that needs data and scores once, to 1 for one that
            works in rounds.
        batches_per_step: Batches of the loader whose losses are averaged
            into one step of the criterion.
        include: Globs of parameter names, such as ``'backbone.*'``; only
            matching weights are pruned.
        exclude: Globs of weights that stay dense.
        allocation: How kept weights are divided among the layers:
            ``'global'`` (all ranked together), ``'uniform'``, ``'erk'``, a
            dict from globs of names to sparsities, or a config with
            ``type`` and options (``min_density``, ``dense_first``,
            ``dense_last``).
        structure: What is kept together: single weights by default,
            ``'2:4'`` (which settles the density of each layer), ``'rows'``
            of a weight, ``dict(type='blocks', rows=4, columns=1)``, or
            ``'channels'``: whole ones, of all layers that share them, see
            :class:`~epsd_mm.structure.Units`, or ``'neurons'``, those of
            MLPs alone.
        allow_empty_layers: Accept masks that remove a whole layer.
        zero_layers: What is done with layers whose scores are all exactly
            zero at initialisation, or that the objective does not reach:
            ``'error'``, or ``'dense'``: they stay whole, as if excluded,
            are named and counted, and ``sparsity`` holds for the others.
        compare_plain: Report the overlap with the masks of the plain loss,
            and of two such masks; scoring then takes three times as long.
        seed: Seed of scoring, and of what ``'SET'`` draws; defaults to that
            of the runner.
        masks: File of masks to start from: ``epsd/masks.pth`` of another
            run. The weights they cover are not scored; the others are,
            where there is a ``sparsity``, and stay dense where there is
            none. It is read when a training starts; a resumed one has the
            masks of its checkpoint.
        prefix: Take only the masks of this part of the network, such as
            ``'backbone'``.
        start: File of masks that scoring starts from, or the masks, of all
            weights that are scored: those that they remove stay removed, and
            scores are of what they leave. Read as ``masks`` are.
        policy: How masks change in training: not at all by default
            (``'Fixed'``); ``'Gradual'`` starts with all weights and no
            criterion and ends at ``sparsity``; ``'RigL'`` and ``'SET'`` move
            those that the criterion has left. See
            :mod:`epsd_mm.policies`.
        bad_boxes: What is done about boxes that a detector cannot be
            trained on: ``'error'``, or ``'drop'``: they are named, and
            training goes on without them.
        batch_augments: What is done about Mixup, CutMix and the like of a
            classifier, which no self-distillation loss can make use of:
            ``'error'``, or ``'off'``, for a run with such a loss and for
            those that it is compared with.

    Raises:
        ValueError: A setting is wrong or would have no effect.
    """

    sparsity: float = 0.0
    criterion: Criterion | None = None
    sd_loss: SelfDistillationLoss | None = None
    score_weights: dict | None = None
    draws: int | None = None
    batches_per_step: int = 1
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    allocation: Allocation | None = None
    structure: Structure | None = None
    allow_empty_layers: bool = False
    zero_layers: str = 'error'
    compare_plain: bool = False
    seed: int | None = None
    masks: str | Path | None = None
    prefix: str | None = None
    start: str | Path | Masks | None = None
    policy: MaskPolicy | None = None
    bad_boxes: str = 'error'
    batch_augments: str = 'error'

    @classmethod
    def build(cls, **options: Any) -> 'Settings':
        """Settings whose parts may be names or config dicts.

        The criterion is ``'ProsPr'`` unless it is given, given masks stand
        alone, or a policy starts with all weights; what a criterion asks for
        is the default of these settings. Old spellings are taken
        with a warning.

        Raises:
            TypeError: There is no such option.
        """
        options = in_present_words(options)
        unknown = [name for name in options if name not in _DEFAULTS]
        if unknown:
            raise TypeError(
                f'there is no option {", ".join(unknown)}; there are '
                f'{", ".join(_DEFAULTS)}'
            )
        sparsity = options.get('sparsity', 0.0)
        check_sparsity(sparsity)
        policy = build_policy(options.get('policy'))
        dense = policy and sparsity and not policy.initial(sparsity)
        if not dense and (sparsity or options.get('masks') is None):
            options.setdefault('criterion', 'ProsPr')
        criterion = build_criterion(options.get('criterion'))
        options['criterion'] = criterion
        for name, value in (criterion.asks if criterion else {}).items():
            if options.get(name) is None:
                options[name] = value
        built = {name: b(options.get(name)) for name, b in _BUILDERS.items()}
        return cls(**{**options, **built})

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        if self.changes:
            check_policy(
                self.policy,
                sparsity=self.sparsity,
                criterion=self.criterion,
                structure=self.structure,
                masks=self.masks,
            )
        check_combination(self.allocation, self.structure)
        if self.units:
            self._check_units()
        if self.criterion is not None and self.sparsity:
            self._check_criterion()
        _check_score_weights(self.score_weights)
        check_choice(self.zero_layers)
        check_bad_boxes(self.bad_boxes)
        check_batch_augments(self.batch_augments)
        for name in ('masks', 'start'):
            value = getattr(self, name)
            if name == 'start' and isinstance(value, Masks):
                continue
            if not isinstance(value, (str, Path, type(None))):
                raise ValueError(
                    f'{name}={value!r} must be the path of a file: masks.pth '
                    'of a run, in work_dir/epsd'
                )
        if self.start is not None:
            self._check_start()
        if self.masks is None:
            self._refuse('there are no masks', 'prefix')
        for name in ('draws', 'batches_per_step'):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f'{name}={value!r} must be an integer >= 1')
        if not isinstance(self.seed, Integral | None):
            raise ValueError(f'seed={self.seed!r} must be an integer')
        if self.changes and self.criterion is None:
            self._refuse(_NOT_SCORED, *_OF_SCORING)
        elif self.criterion is None:
            self._check_without_criterion()
        elif not self.sparsity:
            raise ValueError(
                f'sparsity={self.sparsity} beside a criterion removes '
                'nothing: give a sparsity in (0, 1), or criterion=None for '
                'self-distillation or given masks without scoring'
            )
        if self.data_free:
            self._refuse(
                'the criterion looks at no image and no loss',
                'draws',
                'batches_per_step',
                'score_weights',
                'compare_plain',
            )
        if self.sd_loss is None:
            self._refuse(
                'there is no sd_loss', 'score_weights', 'compare_plain'
            )

    def read_masks(self) -> Masks | None:
        """The given masks, for a training that starts from them.

        Raises:
            OSError: There is no such file, or it cannot be opened.
            ValueError: It holds no masks, or none of the prefix.
        """
        if self.masks is None:
            return None
        masks = _read('masks', self.masks)
        return masks if self.prefix is None else masks.part(self.prefix)

    def read_start(self) -> Masks | None:
        """The masks that scoring starts from, if it does from some.

        Raises:
            OSError: There is no such file, or it cannot be opened.
            ValueError: It holds no masks, or such as keep less than is asked.
        """
        if self.start is None:
            return None
        masks = self.start
        if not isinstance(masks, Masks):
            masks = _read('start', masks)
        if masks.sparsity > self.initial_sparsity:
            name = 'initial_sparsity'
            if self.initial_sparsity == self.sparsity:
                name = 'sparsity'
            raise ValueError(
                f'the masks of {self._named_start} have sparsity '
                f'{masks.sparsity:.6g}, and {name}={self.initial_sparsity} '
                'keeps more, but what they remove stays removed: give a '
                f'{name} above theirs, or leave start out'
            )
        return masks

    def describe(self) -> dict[str, Any]:
        """How masks are made and what trains, in plain values."""
        return dict(
            criterion=self.criterion and type(self.criterion).__name__,
            settings=self.criterion and _plain(self.criterion),
            allocation=described(self.allocation),
            structure=described(self.structure),
            sd_loss=described(self.sd_loss),
            score_weights=dict(task=self.task, sd=self.sd),
            draws=self.draw_count,
            batches_per_step=self.batches_per_step,
        )

    @property
    def units(self) -> Units | None:
        """The structure, if it is units of several layers."""
        return self.structure if isinstance(self.structure, Units) else None

    @property
    def changes(self) -> bool:
        """Whether masks change in training."""
        return not isinstance(self.policy, (Fixed, type(None)))

    @property
    def data_free(self) -> bool:
        """Whether scores depend on no image."""
        return self.criterion is None or self.criterion.data_free

    @property
    def needs_batches(self) -> bool:
        """Whether scoring takes batches, if only for their shape."""
        if self.units and self.units.of != 'weights':
            return True
        return self.criterion is not None and self.criterion.steps_per_draw > 0

    @property
    def draw_count(self) -> int:
        """Independent draws of the data in each round."""
        if self.draws:
            return self.draws
        one_shot = self.criterion and self.criterion.schedule.rounds == 1
        return DEFAULT_DRAWS if one_shot and not self.data_free else 1

    @property
    def initial_sparsity(self) -> float:
        """That of the masks that training starts with."""
        if not self.changes:
            return self.sparsity
        return self.policy.initial(self.sparsity)

    def initial_target(self, prunable: Mapping[str, Tensor]) -> Target:
        """What is asked of the masks that training starts with."""
        target, initial = self.target(prunable), self.initial_sparsity
        if initial == self.sparsity:
            return target
        return target.at(lambda final: min(initial, final))

    def target(self, prunable: Mapping[str, Tensor]) -> Target:
        """What is asked of the masks of these weights, in the end."""
        return Target.over(
            prunable, self.sparsity, self.allocation, self.structure
        )

    @property
    def search(self) -> dict[str, Any]:
        """What :func:`~epsd_mm.pruning.find_masks` is told of them."""
        return dict(
            draws=self.draw_count,
            batches_per_step=self.batches_per_step,
            seed=self.seed,
            allow_empty_layers=self.allow_empty_layers,
            zero_layers=self.zero_layers,
        )

    @property
    def task(self) -> float:
        """Weight of the task's losses in the scored objective."""
        return self._weights['task']

    @property
    def sd(self) -> float:
        """Weight of the self-distillation term in the scored objective."""
        return self._weights['sd'] if self.sd_loss else 0.0

    @property
    def _weights(self) -> dict:
        return dict(task=1.0, sd=1.0) | (self.score_weights or {})

    def _check_units(self) -> None:
        self.units.check(self.criterion, self.allocation)
        self._refuse(
            f'a layer keeps some of its {self.units.kind}',
            'allow_empty_layers',
        )
        self._refuse(
            f'structure={self.units.kind!r} scores the whole network',
            'masks',
        )

    def _check_criterion(self) -> None:
        self.criterion.in_round(1, self.sparsity)
        for name, value in self.criterion.asks.items():
            asked, given = _BUILDERS[name](value), getattr(self, name)
            if not isinstance(given, type(asked)):
                raise ValueError(
                    f'{type(self.criterion).__name__} is defined for {name}='
                    f'{value!r}, and beside it is {name} '
                    f'{type(given).__name__}: set {name}={value!r}, or take '
                    'another criterion'
                )

    def _check_start(self) -> None:
        self._refuse(
            'scoring starts from masks of all that it scores', 'masks'
        )
        self._refuse(
            'what the masks of the start remove is not to be left whole',
            'zero_layers',
        )
        if self.units:
            raise ValueError(
                f'structure={self.units.kind!r} scores the whole network, '
                f'so that {self._named_start} would have no effect: remove it'
            )
        if self.criterion is not None and self.criterion.regrow:
            raise ValueError(
                f'{type(self.criterion).__name__} lets weights come back, so '
                f'that those that {self._named_start} removes would: take '
                'another criterion, such as IterSNIP'
            )
        if self.changes and self.policy.regrows:
            raise ValueError(
                f'policy={type(self.policy).__name__} lets weights come '
                f'back, so that those that {self._named_start} removes '
                'would: remove one of the two'
            )

    @property
    def _named_start(self) -> str:
        given = isinstance(self.start, Masks)
        return 'start' if given else f'start={str(self.start)!r}'

    def _check_without_criterion(self) -> None:
        if self.sd_loss is None and self.masks is None:
            raise ValueError(
                'criterion=None and sd_loss=None: the hook has nothing to '
                'do, remove it'
            )
        self._refuse(
            'criterion=None prunes nothing',
            'sparsity',
            'include',
            'exclude',
            'allocation',
            'structure',
            'seed',
            'allow_empty_layers',
            'zero_layers',
            'start',
        )

    def _refuse(self, reason: str, *names: str) -> None:
        given = [
            f'{name}={getattr(self, name)!r}'
            for name in names
            if getattr(self, name) != _DEFAULTS[name]
        ]
        if given:
            raise ValueError(
                f'{reason}, so {", ".join(given)} would have no effect: '
                'remove it'
            )


def _read(name: str, path: str | Path) -> Masks:
    if not Path(path).exists():
        raise FileNotFoundError(
            f'{name}={str(path)!r} does not exist: name the masks.pth of a '
            'run, in its work_dir/epsd'
        )
    return Masks.load(path)


def described(part: Any) -> dict | None:
    """A part of the settings in plain values."""
    return part and dict(type=type(part).__name__, **_plain(part))


def _plain(part: Any) -> dict:
    own = vars(part).items()
    # A loss is a module, whose mode is no setting.
    settings = {k: v for k, v in own if k[0] != '_' and k != 'training'}
    if isinstance(settings.get('schedule'), Schedule):
        settings['schedule'] = asdict(settings['schedule'])
    return {k: v if is_plain(v) else _named(v) for k, v in settings.items()}


def _named(value: Any) -> dict:
    """What stands for a value that JSON has no form for."""
    return dict(type=type(value).__name__, digest=digest(value))


# What has an effect on scores, or on what is drawn for them.
_OF_SCORING = ('draws', 'batches_per_step', 'score_weights', 'compare_plain')
_OF_SCORING += ('zero_layers', 'seed', 'start')
_NOT_SCORED = 'the policy starts with all weights and nothing is scored'

_DEFAULTS = {field.name: field.default for field in fields(Settings)}


def _check_score_weights(weights: Any) -> None:
    if weights is None:
        return
    right = isinstance(weights, dict) and not set(weights) - {'task', 'sd'}
    right = right and all(
        isinstance(weight, (int, float)) and 0 <= weight < math.inf
        for weight in weights.values()
    )
    if not right or not any((dict(task=1.0, sd=1.0) | weights).values()):
        raise ValueError(
            f'score_weights={weights!r} must be dict(task=…, sd=…) with '
            'numbers >= 0, one of them positive'
        )


def settings_of(cfg: Any) -> Settings | None:
    """The settings of the ``EPSDHook`` in a config, if it has one.

    Args:
        cfg: A config of mmengine.

    Raises:
        TypeError: The hook has no such option.
        ValueError: An option cannot be what it is.
    """
    # All else here does without mmengine.
    from epsd_mm.config_types import epsd_hook

    hook = epsd_hook(cfg)
    if hook is None:
        return None
    options = dict(hook)
    for name in ('type', 'priority'):
        options.pop(name, None)
    return Settings.build(**options)
