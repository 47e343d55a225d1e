"""A suite: which runs are compared, and what is claimed before they run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from mmengine.config import Config

from epsd_mm.engine.settings import settings_of
from epsd_mm.engine.variants import VARIANTS
from epsd_mm.quantities import HIGHER, LOWER, kind_of
from epsd_mm.runs import Run

from .rounds import Rounds
from .suite_file import read_suite_file, why
from .suite_types import check_types

#: So many claims may be tested; everything else is descriptive.
MOST_CLAIMS = 3
_DENSE = ('dense', 'sd-only')
# What may say the name of another method.
_NAMES = ('masks_of', 'weights_of', 'teacher', 'student_of')
# What rounds settle by themselves.
_OF_ROUNDS = ('criterion', 'score_weights', 'policy', 'shuffled', *_NAMES)
# What has no effect on a dense network.
_OF_STUDENTS = ('criterion', 'score_weights', 'policy', 'shuffled')
_OF_STUDENTS += ('masks_of', 'weights_of', 'teacher', 'rounds')
# The loss that students learn by.
KD = 'KD'
_KEYS = ('title', 'setups', 'methods', 'sparsities', 'seeds', 'claims')


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


@dataclass(frozen=True)
class Suite:
    """A grid of setups, methods, sparsities and seeds.

    Cells of one seed share initialisation and data order, since nothing but
    the seed of the config decides them.

    Attributes:
        path: The file that it was read from.
        title: For the report.
        setups: By name.
        methods: By name.
        sparsities: Of the methods that prune.
        seeds: Of all cells.
        claims: Primary ones, at most :data:`MOST_CLAIMS`.
    """

    path: Path
    title: str
    setups: Mapping[str, Setup]
    methods: Mapping[str, Method]
    sparsities: Sequence[float]
    seeds: Sequence[int]
    claims: Sequence[Claim] = ()

    @classmethod
    def load(cls, path: str | Path) -> 'Suite':
        """Read a suite from a Python config.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Something is missing, unknown or would have no
                effect; says what.
        """
        path = Path(path)
        content = read_suite_file(path)
        unknown = [key for key in content if key not in _KEYS]
        missing = [key for key in _KEYS[:-1] if key not in content]
        if unknown or missing:
            raise ValueError(
                f'{path}: a suite has {", ".join(_KEYS)}; this one '
                + '; '.join(
                    f'{what} {", ".join(keys)}'
                    for what, keys in (
                        ('lacks', missing),
                        ('has besides', unknown),
                    )
                    if keys
                )
            )
        kinds = dict(setups=Setup, methods=Method, claims=Claim)
        check_types(content, kinds, path)
        suite = cls(
            path=path,
            title=content['title'],
            setups=_named(Setup, content['setups'], path),
            methods=_named(Method, content['methods'], path),
            sparsities=list(content['sparsities']),
            seeds=list(content['seeds']),
            claims=[
                _built(Claim, claim, f'{path}: claims')
                for claim in content.get('claims', ())
            ],
        )
        suite._check()
        return suite

    @cached_property
    def asked(self) -> list[Cell]:
        """Cells that are compared: seed by seed, so that a part is paired.

        Raises:
            ValueError: A method does not fit a set-up, or two cells are the
                same run or have the same name.
        """
        cells = list(self._grid())
        names: dict[str, str] = {}
        for cell in cells:
            try:
                other = names.setdefault(cell.key, cell.name)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{self.path}: {cell.name!r} cannot run: {error}'
                ) from error
            if other != cell.name:
                raise ValueError(
                    f'{self.path}: {other!r} and {cell.name!r} are the same '
                    'run: leave one of them out'
                )
        for name, count in Counter(cell.name for cell in cells).items():
            if count > 1:
                raise ValueError(
                    f'{self.path}: {count} cells have the name {name!r}: '
                    'name set-ups and methods without "/", and sparsities '
                    'that differ in the first six digits'
                )
        return cells

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells: before each that is asked for those it comes after.

        Raises:
            ValueError: As of :attr:`asked`.
        """
        asked = {cell.key: cell for cell in self.asked}
        cells: dict[str, Cell] = {}

        def add(cell: Cell) -> None:
            if cell.key not in cells:
                for earlier in cell.after:
                    add(earlier)
                cells[cell.key] = asked.get(cell.key, cell)

        for cell in self.asked:
            add(cell)
        return list(cells.values())

    @cached_property
    def rewinds(self) -> dict[str, list[int]]:
        """Steps to which cells go back in the training of others, by key."""
        steps: dict[str, set[int]] = {}
        for cell in self.cells:
            if cell.run.rewound_to is not None:
                of_first = steps.setdefault(cell.first.key, set())
                of_first.add(cell.run.rewound_to)
        return {key: sorted(found) for key, found in steps.items()}

    def _grid(self) -> Iterator[Cell]:
        made: dict[tuple, Cell] = {}
        for seed in self.seeds:
            for setup in self.setups.values():
                for method in self.methods.values():
                    at = self.sparsities if method.prunes else [None]
                    for sparsity in at:
                        yield self._cell(made, setup, method, sparsity, seed)

    def _cell(
        self,
        made: dict[tuple, Cell],
        setup: Setup,
        method: Method,
        sparsity: float | None,
        seed: int,
    ) -> Cell:
        """A cell and those that it comes after, each made once."""
        key = setup.name, method.name, sparsity, seed
        if key in made:
            return made[key]

        def other(method: Method, sparsity: float | None) -> Cell:
            at = sparsity if method.prunes else None
            return self._cell(made, setup, method, at, seed)

        earlier = {}
        if method.masks_of is not None:
            lender = self.methods[method.masks_of]
            earlier['lender'] = other(lender, sparsity)
        if method.rounds is not None:
            first = other(method.round_0, None)
            before = method.rounds.before(sparsity)
            previous = first if before is None else other(method, before)
            earlier |= dict(first=first, previous=previous)
        if method.weights_of is not None:
            origin = self.methods[method.weights_of]
            earlier['previous'] = other(origin, sparsity)
        if taught_by := method.teacher or method.student_of:
            teacher = self.methods[taught_by]
            earlier['teacher'] = other(teacher, sparsity)
        made[key] = Cell(setup, method, sparsity, seed, **earlier)
        return made[key]

    def _check(self) -> None:
        for name in ('setups', 'methods', 'seeds'):
            if not getattr(self, name):
                raise ValueError(
                    f'{self.path}: {name} is empty: give at least one'
                )
        pruned = [m.name for m in self.methods.values() if m.prunes]
        if pruned and not self.sparsities:
            raise ValueError(
                f'{self.path}: sparsities is empty, so that there is no cell '
                f'of {", ".join(pruned)}: give at least one'
            )
        for name in ('seeds', 'sparsities'):
            values = getattr(self, name)
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(
                    f'{self.path}: {name} has {sorted(twice)} more than '
                    'once: leave the others out'
                )
        if len(self.claims) > MOST_CLAIMS:
            raise ValueError(
                f'{self.path}: {len(self.claims)} claims, but at most '
                f'{MOST_CLAIMS} are tested; the others are in the report as '
                'descriptions'
            )
        for method in self.methods.values():
            if method.variant not in VARIANTS:
                raise ValueError(
                    f'{self.path}: method {method.name!r} has the variant '
                    f'{method.variant!r}; known are {", ".join(VARIANTS)}'
                )
            self._check_lender(method)
            self._check_earlier(method)
            self._check_rounds(method)
        for claim in self.claims:
            self._check_claim(claim)
        for one, other in combinations(self.claims, 2):
            self._check_apart(one, other)

    def _check_lender(self, method: Method) -> None:
        if method.masks_of is None:
            return
        if not method.prunes:
            raise ValueError(
                f'{self.path}: method {method.name!r}: variant='
                f'{method.variant!r} prunes nothing, so that masks_of would '
                'have no effect: leave it out'
            )
        lender = self.methods.get(method.masks_of)
        if lender is None or lender.masks_of is not None:
            others = [
                name
                for name, m in self.methods.items()
                if m.masks_of is None and m.prunes and m.student_of is None
            ]
            itself = ' itself' if lender is method else ''
            raise ValueError(
                f'{self.path}: method {method.name!r} has masks_of='
                f'{method.masks_of!r}{itself}; methods with masks of their '
                f'own are {", ".join(others) or "none"}'
            )

    def _check_earlier(self, method: Method) -> None:
        """Raise where what it comes after is not there, or comes after it."""
        for name in ('weights_of', 'teacher', 'student_of'):
            other = getattr(method, name)
            if other is not None and other not in self.methods:
                raise ValueError(
                    f'{self.path}: method {method.name!r} has {name}='
                    f'{other!r}; the suite has {", ".join(self.methods)}'
                )
            if other is None or method.prunes:
                continue
            if self.methods[other].prunes:
                raise ValueError(
                    f'{self.path}: method {method.name!r} prunes nothing, '
                    f'and {name}={other!r} does, at each sparsity: name one '
                    'that does not'
                )
        seen, waiting = set(), [method.name]
        while waiting:
            found = self.methods[waiting.pop()]
            others = {getattr(found, name) for name in _NAMES} - {None}
            if method.name in others:
                raise ValueError(
                    f'{self.path}: method {method.name!r} comes after '
                    f'{found.name!r}, which comes after it: one must be first'
                )
            waiting += [o for o in others - seen if o in self.methods]
            seen |= others

    def _check_rounds(self, method: Method) -> None:
        if method.rounds is None:
            return
        for sparsity in self.sparsities:
            try:
                method.rounds.check(sparsity)
            except ValueError as error:
                raise ValueError(
                    f'{self.path}: method {method.name!r}: {error}'
                ) from error

    def _check_claim(self, claim: Claim) -> None:
        known = dict(
            setup=self.setups, first=self.methods, second=self.methods
        )
        for name, values in known.items():
            value = getattr(claim, name)
            if value not in values:
                raise ValueError(
                    f'{self.path}: claim {claim.name!r} names {name}='
                    f'{value!r}; the suite has {", ".join(values)}'
                )
        if claim.first == claim.second:
            raise ValueError(
                f'{self.path}: claim {claim.name!r} compares '
                f'{claim.first!r} with itself'
            )
        sides = claim.first, claim.second
        if not any(self.methods[name].prunes for name in sides):
            if claim.sparsity is not None:
                raise ValueError(
                    f'{self.path}: claim {claim.name!r} compares networks '
                    f'that are not pruned, so that sparsity='
                    f'{claim.sparsity} has no effect: leave it out'
                )
        elif claim.sparsity is None:
            raise ValueError(
                f'{self.path}: claim {claim.name!r} lacks sparsity, at which '
                f'{claim.first!r} and {claim.second!r} are compared: add one '
                f'of {self.sparsities}'
            )
        elif claim.sparsity not in self.sparsities:
            raise ValueError(
                f'{self.path}: claim {claim.name!r} is about sparsity '
                f'{claim.sparsity}; the suite has {self.sparsities}'
            )

    def _check_apart(self, one: Claim, other: Claim) -> None:
        """Raise where two claims are one test, or cannot be told apart."""
        if one.name == other.name:
            raise ValueError(
                f'{self.path}: two claims have the name {one.name!r}, '
                f'{one.first!r} against {one.second!r} and {other.first!r} '
                f'against {other.second!r}: give each a name of its own'
            )
        if _compared(one) == _compared(other):
            raise ValueError(
                f'{self.path}: claim {one.name!r} ({one.first!r} against '
                f'{one.second!r}) and claim {other.name!r} ({other.first!r} '
                f'against {other.second!r}) are one comparison, and its test '
                'is two-sided: leave one of them out'
            )


def _compared(claim: Claim) -> tuple:
    """What the test of a claim compares, whichever does better."""
    return claim.setup, claim.sparsity, {claim.first, claim.second}


_WORDS = {Setup: 'set-up', Method: 'method'}


def _named(kind: type, entries: Mapping, path: Path) -> dict[str, Any]:
    built = {}
    for name, options in entries.items():
        options = dict(options)
        if kind is Setup and 'config' in options:
            options['config'] = _found(options['config'], path)
        built[name] = _built(
            kind, dict(options, name=name), f'{path}: {_WORDS[kind]} {name!r}'
        )
    return built


def _found(config: str, suite: Path) -> str:
    """Configs are named as seen from the suite."""
    found = suite.parent / config
    if not found.is_file():
        raise FileNotFoundError(
            f'{suite} names the config {found}, which is not there'
        )
    return str(found)


def _built(kind: type, options: Mapping, where: str) -> Any:
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: {error}') from error
