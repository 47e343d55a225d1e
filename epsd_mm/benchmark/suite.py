"""A suite: which runs are compared, and what is claimed before they run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .suite_checks import check_parts
from .suite_file import read_suite_file
from .suite_parts import Cell, Claim, Method, Setup
from .suite_types import check_types

_KEYS = ('title', 'setups', 'methods', 'sparsities', 'seeds', 'claims')


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
        claims: Primary ones, at most three.
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
        try:
            check_parts(
                suite.setups,
                suite.methods,
                suite.sparsities,
                suite.seeds,
                suite.claims,
            )
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
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
