"""A suite: which runs are compared, and what is claimed before they run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from epsd_mm.engine.settings import settings_of
from epsd_mm.engine.variants import VARIANTS
from epsd_mm.pruning.allocation import check_sparsity
from epsd_mm.quantities import HIGHER, LOWER, kind_of
from epsd_mm.runs import Run, key_of

from .suite_file import read_suite_file

#: So many claims may be tested; everything else is descriptive.
MOST_CLAIMS = 3
_DENSE = ('dense', 'sd-only')
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
                f'setup {self.name!r}: better={self.better!r} must be '
                f'{HIGHER!r} or {LOWER!r}'
            )
        known = kind_of(self.metric)[1]
        if self.better and known and self.better != known:
            raise ValueError(
                f'setup {self.name!r}: better={self.better!r}, but of '
                f'{self.metric} {known} is better: leave it out'
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
                f'{self.config} cannot be read: {type(error).__name__}: '
                f'{error}'
            ) from error


@dataclass(frozen=True)
class Method:
    """What prunes and what trains; see :class:`~epsd_mm.runs.Run`.

    Attributes:
        masks_of: Name of another method of the suite: this one trains under
            the masks that the other would have, and scores nothing else.
        shuffled: Move those masks about inside each layer.
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

    @property
    def prunes(self) -> bool:
        """Whether it has a sparsity."""
        return self.variant not in _DENSE


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
        lender: The method whose masks it has, where those are not its own.
    """

    setup: Setup
    method: Method
    sparsity: float | None
    seed: int
    lender: Method | None = None

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
        if self.lender is None:
            masks = dict(sparsity=self.sparsity)
        else:
            other = replace(self, method=self.lender, lender=None)
            masks = dict(masks_of=other.run.to_dict())
        return Run(
            config=self.setup.config,
            variant=self.method.variant,
            criterion=self.method.criterion,
            sd_loss=self.method.sd_loss,
            score_weights=self.method.score_weights,
            policy=self.method.policy,
            seed=self.seed,
            options={**self.setup.options, **self.method.options},
            shuffled=self.method.shuffled,
            **masks,
        )

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

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the result."""
        return key_of(self.config)

    def spec(self) -> dict[str, Any]:
        """Plain values that say what the cell is."""
        return dict(
            setup=self.setup.name,
            method=self.method.name,
            sparsity=self.sparsity,
            seed=self.seed,
            metric=self.setup.metric,
            run=self.run.to_dict(),
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
    def cells(self) -> list[Cell]:
        """All cells: seed by seed, so that a part of them is paired.

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

    def _grid(self) -> Iterator[Cell]:
        for seed in self.seeds:
            for setup in self.setups.values():
                for method in self.methods.values():
                    at = self.sparsities if method.prunes else [None]
                    lender = self.methods.get(method.masks_of)
                    for sparsity in at:
                        yield Cell(setup, method, sparsity, seed, lender)

    def _check(self) -> None:
        for name in ('setups', 'methods', 'seeds'):
            if not getattr(self, name):
                raise ValueError(f'{self.path}: {name} is empty')
        for name in ('seeds', 'sparsities'):
            values = getattr(self, name)
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(
                    f'{self.path}: {name} has {sorted(twice)} twice'
                )
        for seed in self.seeds:
            if not isinstance(seed, int) or seed < 0:
                raise ValueError(
                    f'{self.path}: the seed {seed!r} must be a whole number, '
                    'not below 0'
                )
        for sparsity in self.sparsities:
            try:
                check_sparsity(sparsity)
            except ValueError as error:
                raise ValueError(f'{self.path}: {error}') from error
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
        for claim in self.claims:
            self._check_claim(claim)

    def _check_lender(self, method: Method) -> None:
        if method.masks_of is None:
            return
        lender = self.methods.get(method.masks_of)
        if lender is None or lender.masks_of is not None:
            others = [
                name for name, m in self.methods.items() if m.masks_of is None
            ]
            raise ValueError(
                f'{self.path}: method {method.name!r} has masks_of='
                f'{method.masks_of!r}; methods with masks of their own are '
                f'{", ".join(others)}'
            )

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
        elif claim.sparsity not in self.sparsities:
            raise ValueError(
                f'{self.path}: claim {claim.name!r} is about sparsity '
                f'{claim.sparsity}; the suite has {self.sparsities}'
            )


def _named(kind: type, entries: Any, path: Path) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        raise ValueError(f'{path}: {entries!r:.60} must be a dict by name')
    built = {}
    for name, options in entries.items():
        options = dict(options)
        if kind is Setup and 'config' in options:
            options['config'] = _found(options['config'], path)
        built[name] = _built(
            kind, dict(options, name=name), f'{path}: {name!r}'
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
    except TypeError as error:
        raise ValueError(f'{where}: {error}') from error
