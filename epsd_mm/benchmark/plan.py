"""What the cells of a suite will cost, from what cells have cost."""

import statistics
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import epsd_hook
from epsd_mm.runs import Run, key_of
from epsd_mm.tables import text_table

from .compact_cell import removes_channels
from .store import Entry
from .suite_parts import Cell
from .wording import cell_count

_UNKNOWN = 'not measured'
_HEADINGS = ['set-up', 'method', 'sparsity', 'cells', 'one takes', 'all take']
_HEADINGS += ['memory', 'GPU memory', 'measured on']


@dataclass(frozen=True)
class Cost:
    """What finished cells of a kind have cost.

    Attributes:
        seconds: Of one cell, the mean.
        memory: Bytes of the process and its largest worker, the most.
        gpu_memory: Bytes on the GPU, the most; None without one.
        where: Devices and threads that they ran on.
        cells: Number of them.
    """

    seconds: float
    memory: float | None
    gpu_memory: float | None
    where: str
    cells: int


class Costs:
    """Costs by all that decides them: the config, but for its seed.

    Of masks of weights the sparsity changes little: where a cell of another
    one has been measured, that is taken, but not of a student, nor of what
    learns from a smaller network: how large these are is decided by what the
    other run was. Nothing else is guessed, and what set-ups and methods are
    called does not matter.

    Args:
        entries: Finished cells, of any suites. Those whose configs are
            others now, or not here, tell nothing.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._files: dict[str, Config | None] = {}
        self._same: dict[str, list[Entry]] = {}
        self._alike: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.state != 'finished':
                continue
            if 'training/seconds' not in entry.metrics:
                continue
            kinds = self._kinds_of(entry)
            if kinds is not None:
                same, alike = kinds
                self._same.setdefault(same, []).append(entry)
                self._alike.setdefault(alike, []).append(entry)

    def of(self, cell: Cell) -> Cost | None:
        """Cost of a cell; None where none like it was measured."""
        base = cell.setup.base
        same, alike = _kinds(cell.run, base, cell.run.resolve(base))
        found = self._same.get(same) or self._alike.get(alike)
        return _cost(found) if found else None

    def _kinds_of(self, entry: Entry) -> tuple[str, str] | None:
        """Of the config that a cell ran with, if it is known for certain."""
        try:
            run = Run(**entry.spec['run'])
            if run.config not in self._files:
                self._files[run.config] = _read(run.config)
            base = self._files[run.config]
            cfg = None if base is None else run.resolve(base)
            known = cfg is not None and key_of(cfg) == entry.key
            return _kinds(run, base, cfg) if known else None
        except (KeyError, TypeError, ValueError):
            return None


def _read(path: str) -> Config | None:
    try:
        return Config.fromfile(path)
    except Exception:  # it is a program: anything may go wrong
        return None


def _kinds(run: Run, base: Config, cfg: Config) -> tuple[str, str]:
    """What tells costs apart, with the sparsity and without where it can.

    Args:
        run: A run.
        base: What its config file holds.
        cfg: The run, resolved: of no use to others afterwards.
    """
    smaller = _smaller(run, base)
    parts = [cfg]
    if 'masks_of' in cfg:
        parts.append(cfg.masks_of.run)
    for part in parts:
        # A seed, and the runs of that seed that it comes after; not at which
        # of their steps it begins, which says how much there is to train.
        origin = part.get('weights_of') or {}
        for name in ('randomness', 'weights_of', 'teacher_of'):
            part.pop(name, None)
        if 'rewound_to' in origin:
            part.weights_of = dict(rewound_to=origin['rewound_to'])
    if smaller is not None:
        cfg.teacher_of = smaller
    same = key_of(cfg)
    for part in parts:
        hook = epsd_hook(part)
        if hook and not removes_channels(part):
            hook.pop('sparsity', None)
    return same, key_of(cfg)


def _smaller(run: Run, base: Config) -> dict[str, Any] | None:
    """Which network decides how large a student is, or the teacher.

    None where both are as large as their configs have them.
    """
    teacher = run.teacher
    if teacher is None:
        return None
    cfg = teacher.resolve(base)
    cut = removes_channels(cfg)
    if not (run.narrow or teacher.narrow or cut):
        return None
    kind, _ = _kinds(teacher, base, cfg)
    return dict(kind=kind, narrow=run.narrow)


def _cost(entries: list[Entry]) -> Cost:
    def values(name: str) -> list[float]:
        return [e.metrics[name][0] for e in entries if name in e.metrics]

    memory = values('training/peak_memory') + values('scoring/peak_memory')
    on_gpu = values('training/gpu_memory')
    return Cost(
        seconds=statistics.mean(values('training/seconds')),
        memory=max(memory, default=None),
        gpu_memory=2**20 * max(on_gpu) if on_gpu else None,
        where=', '.join(sorted({_machine(entry) for entry in entries})),
        cells=len(entries),
    )


def _machine(entry: Entry) -> str:
    environment = entry.environment or {}
    device = environment.get('device', '?')
    if device != 'cpu':
        return device
    threads = environment.get('threads', '?')
    return f'{environment.get("processor", device)}, {threads} threads'


def plan(cells: Iterable[Cell], done: Set[str], costs: Costs) -> str:
    """A table of what would run.

    Args:
        cells: All of a suite.
        done: Keys of those that have finished.
        costs: What is known.
    """
    rows: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.key not in done:
            row = cell.setup.name, cell.method.name, cell.sparsity
            rows.setdefault(row, []).append(cell)
    known, unknown, lines = 0.0, 0, []
    for (setup, method, sparsity), alike in rows.items():
        shown = '' if sparsity is None else f'{sparsity:.6g}'
        row = [setup, method, shown]
        cost = costs.of(alike[0])
        if cost is None:
            unknown += len(alike)
            row += [str(len(alike)), '', '', '', '', _UNKNOWN]
        else:
            known += cost.seconds * len(alike)
            row += [
                str(len(alike)),
                _time(cost.seconds),
                _time(cost.seconds * len(alike)),
                _size(cost.memory),
                _size(cost.gpu_memory),
                cost.where,
            ]
        lines.append(row)
    count = sum(map(len, rows.values()))
    total = f'{cell_count(count)} to run'
    if count > unknown:
        total += f': {known / 3600:.2f} hours, one after the other'
    if unknown:
        total += (
            f'; {unknown} {_UNKNOWN}: run one of the kind, or name a '
            'results.json of such a run with --costs'
        )
    table = text_table(
        'What would run', _HEADINGS, lines, align='lllrrrrrl', width=140
    )
    return f'{table}{total}'


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _size(size: float | None) -> str:
    return '' if size is None else f'{size / 2**30:.2f} GiB'
