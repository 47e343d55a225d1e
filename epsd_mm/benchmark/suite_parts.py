"""What a suite is made of: set-ups, methods, claims and the cells of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mmengine.config import Config

from epsd_mm.config_file import why
from epsd_mm.engine.settings import settings_of
from epsd_mm.quantities import HIGHER, LOWER, kind_of
from epsd_mm.runs import Run

from .rounds import Rounds

#: What may say the name of another method.
NAMES = ('masks_of', 'weights_of', 'teacher', 'student_of')
_DENSE = ('dense', 'sd-only')
# What rounds settle by themselves.
_OF_ROUNDS = ('criterion', 'score_weights', 'policy', 'shuffled', *NAMES)
# What has no effect on a dense network.
_OF_STUDENTS = ('criterion', 'score_weights', 'policy', 'shuffled')
_OF_STUDENTS += ('masks_of', 'weights_of', 'teacher', 'rounds')
# The loss that students learn by.
KD = 'KD'


@dataclass(frozen=True)
class Setup:
    """A data set with a model and a recipe.

    Attributes:
        name: For people.
        config: Path of an EPSD config.
        metric: Name of the metric in the log that is compared.
        options: Settings that replace those of the config.
        about: A sentence for the report.
        better: ``'higher'`` or ``'lower'``, of a metric whose name does not
            tell (:func:`~epsd_mm.quantities.kind_of`); higher by default.

    Raises:
        ValueError: ``better`` is neither, or the name tells otherwise.
    """

    name: str
    config: str
    metric: str
    options: Mapping[str, Any] = field(default_factory=dict)
    about: str = ''
    better: str | None = None

    def __post_init__(self) -> None:
        if self.better not in (None, HIGHER, LOWER):
            raise ValueError(
                f'better={self.better!r} must be {HIGHER!r} or {LOWER!r}'
            )
        known = kind_of(self.metric)[1]
        if self.better and known and self.better != known:
            raise ValueError(
                f'better={self.better!r}, but of {self.metric} {known} is '
                'better: leave it out'
            )

    @property
    def lower_is_better(self) -> bool:
        """Whether a method does better by a lower metric."""
        return (self.better or kind_of(self.metric)[1]) == LOWER

    @cached_property
    def base(self) -> Config:
        """What the config file holds.

        Raises:
            ValueError: It cannot be read.
        """
        try:
            return Config.fromfile(self.config)
        except Exception as error:  # it is a program: anything may go wrong
            raise ValueError(
                f'{self.config} cannot be read: {why(error)}'
            ) from error


@dataclass(frozen=True)
class Method:
    """What prunes and what trains; see :class:`~epsd_mm.runs.Run`.

    Attributes:
        masks_of: Name of another method of the suite: this one trains under
            the masks that the other would have, and scores nothing else.
        shuffled: Move those masks about inside each layer.
        weights_of: Name of another method, from whose trained network this
            one starts.
        teacher: Name of another method, from whose trained network this one
            learns.
        student_of: Name of another method: this one trains a dense network,
            as large as what the other keeps, which learns from it (*Prune,
            then Distill*).
        rounds: ``'IMP'``, or a dict of what
            :class:`~epsd_mm.benchmark.rounds.Rounds` takes: its masks are
            found by training and pruning again and again.
    """

    name: str
    variant: str = 'epsd'
    criterion: Any = None
    sd_loss: str | None = None
    score_weights: Mapping[str, float] | None = None
    policy: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    masks_of: str | None = None
    shuffled: bool = False
    weights_of: str | None = None
    teacher: str | None = None
    student_of: str | None = None
    rounds: Any = None

    def __post_init__(self) -> None:
        if self.student_of is not None:
            self._check_student()
        if self.rounds is None:
            return
        rounds = Rounds.build(self.rounds)
        object.__setattr__(self, 'rounds', rounds)
        idle = [
            name
            for name in _OF_ROUNDS
            if getattr(self, name) not in (None, False)
        ]
        if idle:
            raise ValueError(
                'rounds rank trained weights by magnitude, and rewind them, '
                f'so that {", ".join(idle)} cannot stand beside: leave it out'
            )
        if not self.prunes:
            raise ValueError(
                f'variant={self.variant!r} prunes nothing, so that rounds '
                'would have no effect: leave it out'
            )

    @property
    def prunes(self) -> bool:
        """Whether it has a sparsity: of its own, or of its teacher."""
        return self.variant not in _DENSE or self.student_of is not None

    @property
    def lends(self) -> bool:
        """Whether it has masks of its own before it trains."""
        if self.masks_of is not None or self.student_of is not None:
            return False
        return self.prunes and self.policy is None

    def _check_student(self) -> None:
        idle = [name for name in _OF_STUDENTS if getattr(self, name)]
        other = self.variant not in ('epsd', 'sd-only')
        if idle or other or self.sd_loss not in (None, KD):
            raise ValueError(
                f'student_of={self.student_of!r} trains a dense network that '
                f'learns by {KD}, so that another variant or sd_loss, '
                f'{", ".join(_OF_STUDENTS)} cannot stand beside: leave them '
                'out'
            )
        object.__setattr__(self, 'variant', 'sd-only')
        object.__setattr__(self, 'sd_loss', KD)

    @property
    def round_0(self) -> 'Method':
        """What rounds start with: the same training of the dense network."""
        plain = self.variant == 'prune-only'
        return replace(
            self,
            name=f'{self.name}, round 0',
            variant='dense' if plain else 'sd-only',
            rounds=None,
        )


@dataclass(frozen=True)
class Claim:
    """That one method does better than another, named before runs are made.

    Attributes:
        name: Of the claim.
        setup: Where.
        first: The method that is claimed to do better.
        second: The other.
        sparsity: At which, where one of them prunes.
    """

    name: str
    setup: str
    first: str
    second: str
    sparsity: float | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a suite.

    Attributes:
        setup: Where.
        method: What prunes and trains.
        sparsity: None where nothing is pruned.
        seed: Of initialisation, data and scoring.
        lender: The cell whose masks it has, where those are not its own.
        previous: The cell from whose trained network it starts, or which
            one of its rounds prunes.
        first: Of rounds: the dense one.
        teacher: The cell from whose trained network it learns.
    """

    setup: Setup
    method: Method
    sparsity: float | None
    seed: int
    lender: 'Cell | None' = None
    previous: 'Cell | None' = None
    first: 'Cell | None' = None
    teacher: 'Cell | None' = None

    @property
    def name(self) -> str:
        """For people, and unique in the suite."""
        parts = [self.setup.name, self.method.name]
        if self.sparsity is not None:
            parts.append(f'{self.sparsity:.6g}')
        return '/'.join([*parts, f'seed {self.seed}'])

    @cached_property
    def run(self) -> Run:
        """The run itself."""
        run = Run(
            config=self.setup.config,
            variant=self.method.variant,
            sd_loss=self.method.sd_loss,
            seed=self.seed,
            options={**self.setup.options, **self.method.options},
        )
        if self.method.rounds is not None:
            return self._round(run)
        masks = dict(sparsity=self.sparsity)
        if self.method.student_of is not None:
            masks = dict(narrow=True)
        if self.lender is not None:
            lent = self.lender.run
            masks = dict(masks_of=lent.masks_of or lent)
        return replace(
            run,
            criterion=self.method.criterion,
            score_weights=self.method.score_weights,
            policy=self.method.policy,
            shuffled=self.method.shuffled,
            weights_of=self.previous and self.previous.run,
            teacher=self.teacher and self.teacher.run,
            **masks,
        )

    def _round(self, run: Run) -> Run:
        """One that prunes what the round before has trained."""
        scored = replace(
            run,
            criterion='Magnitude',
            sparsity=self.sparsity,
            weights_of=self.previous.run,
        )
        run = replace(run, masks_of=scored)
        if not self.method.rounds.rewind:
            return run
        step = self.method.rounds.rewind
        return replace(run, weights_of=self.first.run, rewound_to=step)

    @property
    def after(self) -> list['Cell']:
        """Cells that must have finished before it begins."""
        found = [self.previous, self.teacher]
        if self.run.rewound_to is not None:
            found.append(self.first)
        if self.lender is not None:  # which need not run itself
            rounds = self.lender.first is not None
            found += [self.lender.previous] if rounds else self.lender.after
        cells = {cell.key: cell for cell in found if cell is not None}
        return list(cells.values())

    @property
    def config(self) -> Config:
        """The config of the run.

        Raises:
            ValueError: The method does not fit the config.
            TypeError: The hook has no such option.
        """
        cfg = self.run.resolve(self.setup.base)
        settings_of(cfg)
        return cfg

    def _check_single_weights(self) -> None:
        scored = self.run.masks_of.resolve(self.setup.base)
        structure = settings_of(scored).structure
        if structure is not None:
            raise ValueError(
                'rounds remove single weights, and the hook has structure='
                f'{type(structure).__name__}: leave one of the two out'
            )

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the result.

        Raises:
            ValueError: As of :attr:`config`.
        """
        if self.method.rounds is not None:
            self._check_single_weights()
        return self.run.earlier(self.setup.base).key

    def spec(self) -> dict[str, Any]:
        """Plain values that say what the cell is."""
        return dict(
            setup=self.setup.name,
            method=self.method.name,
            sparsity=self.sparsity,
            seed=self.seed,
            metric=self.setup.metric,
            run=self.run.to_dict(),
            after=[cell.key for cell in self.after],
        )
