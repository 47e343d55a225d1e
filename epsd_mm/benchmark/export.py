"""The results of a suite as files that outlive its folder."""

import csv
import io
import json
import math
from pathlib import Path

from epsd_mm.files import write_text

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
    """Write finished cells so that :func:`import_json` takes them again."""
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


def import_json(store: Store, path: str | Path, owner: str) -> int:
    """Add finished cells of a file to a store; returns their number.

    Cells that the store has finished already stay as they are.

    Raises:
        ValueError: The file is no export of this version.
    """
    try:
        content = json.loads(Path(path).read_text())
        if content['format'] != FORMAT:
            raise ValueError(f'format {content["format"]} instead of {FORMAT}')
        cells = [
            (
                (cell['key'], cell['name'], cell['spec']),
                {
                    n: (float(v), unit)
                    for n, (v, unit) in cell['metrics'].items()
                },
                cell['environment'],
            )
            for cell in content['cells']
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no export of a suite ({type(error).__name__}: '
            f'{error}): name a results.json that `benchmark.py export` wrote'
        ) from error
    count = 0
    for cell, metrics, environment in cells:
        store.add([cell])
        if store.claim([cell[0]], owner) is not None:
            store.finish(cell[0], owner, metrics, environment)
            count += 1
    return count


def _finished(entries: dict[str, Entry]) -> list[Entry]:
    return [entry for entry in entries.values() if entry.state == 'finished']
