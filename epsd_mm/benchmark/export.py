"""The results of a suite as files that outlive its folder."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from epsd_mm.files import write_text
from epsd_mm.versions import check_version

from .store import Entry, Store

FORMAT = 1
_COLUMNS = 'setup method sparsity seed key metric value unit'.split()


def export_csv(entries: dict[str, Entry], path: str | Path) -> None:
    """Write finished cells, a line a metric, for any tool.

    Args:
        entries: What a store holds, by key.
        path: The file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for entry in _finished(entries):
        spec = entry.spec
        cell = spec['setup'], spec['method'], spec['sparsity'], spec['seed']
        for metric, (value, unit) in entry.metrics.items():
            writer.writerow([*cell, entry.key, metric, repr(value), unit])
    write_text(path, text.getvalue())


def export_json(entries: dict[str, Entry], path: str | Path) -> None:
    """Write finished cells so that :func:`read_json` reads them again."""
    cells = [
        dict(
            key=entry.key,
            name=entry.name,
            spec=entry.spec,
            seconds=round((entry.ended or 0) - (entry.started or 0), 1),
            environment=entry.environment,
            metrics={
                # JSON has no NaN and no infinity, but strings of them.
                n: [v if math.isfinite(v) else str(v), unit]
                for n, (v, unit) in entry.metrics.items()
            },
        )
        for entry in _finished(entries)
    ]
    write_text(
        path,
        json.dumps(
            dict(format=FORMAT, cells=cells), indent=1, allow_nan=False
        ),
    )


def read_json(path: str | Path) -> dict[str, Entry]:
    """The finished cells of a file, by key.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no export, or one of a later version.
    """
    with _told_by_name(path):
        content = json.loads(Path(path).read_text())
        version = content['format']
    check_version(
        version,
        FORMAT,
        f'{path} is an export',
        'read it with the version of epsd_mm that wrote it',
    )
    with _told_by_name(path):
        return {cell['key']: _entry(cell) for cell in content['cells']}


@contextmanager
def _told_by_name(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no export of a suite ({type(error).__name__}: '
            f'{error}): name a results.json that `benchmark.py export` wrote'
        ) from error


def take_entries(store: Store, entries: Iterable[Entry]) -> int:
    """Add finished cells to a store; returns their number.

    Cells that the store has finished already stay as they are, and so do
    those that run.

    Args:
        store: Of a suite.
        entries: Such as :func:`read_json` returns.
    """
    entries = list(entries)
    store.add((entry.key, entry.name, entry.spec) for entry in entries)
    return sum(
        store.take(e.key, e.metrics, e.environment, e.started, e.ended)
        for e in entries
    )


def _entry(cell: dict) -> Entry:
    metrics = {n: (float(v), unit) for n, (v, unit) in cell['metrics'].items()}
    return Entry(
        key=cell['key'],
        name=cell['name'],
        spec=dict(cell['spec']),
        state='finished',
        owner=None,
        attempts=1,
        started=0.0,
        ended=float(cell['seconds']),
        error=None,
        environment=cell['environment'],
        metrics=metrics,
    )


def _finished(entries: dict[str, Entry]) -> list[Entry]:
    return [entry for entry in entries.values() if entry.state == 'finished']
