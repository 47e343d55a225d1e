"""The result of a cell as a file."""

import json
from collections.abc import Mapping
from pathlib import Path

from epsd_mm.files import write_text
from epsd_mm.quantities import Quantity

from .store import Store
from .suite_folder import RESULT, SPEC


def write_result(
    work_dir: Path, result: Mapping[str, Quantity], environment: dict
) -> None:
    """Write ``result.json``, whole or not at all."""
    content = dict(
        metrics={name: [q.value, q.unit] for name, q in result.items()},
        environment=environment,
    )
    write_text(work_dir / RESULT, json.dumps(content, indent=2))


def read_result_file(work_dir: Path) -> tuple[dict, dict]:
    """Metrics, value and unit by name, and environment of a finished cell.

    Raises:
        FileNotFoundError: It has none.
        ValueError: The file is damaged.
    """
    path = work_dir / RESULT
    try:
        content = json.loads(path.read_text())
        metrics = {
            str(name): (float(value), str(unit))
            for name, (value, unit) in content['metrics'].items()
        }
        return metrics, dict(content['environment'])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is damaged ({type(error).__name__}: {error}): remove '
            'it, and run the cell again'
        ) from error


def take_result(store: Store, key: str, work_dir: Path) -> bool:
    """Let a store know of a result that lies in a work dir, if one does."""
    try:
        metrics, environment = read_result_file(work_dir)
        started = (work_dir / SPEC).stat().st_mtime
        ended = (work_dir / RESULT).stat().st_mtime
    except (OSError, ValueError):  # the cell itself sets a damaged one aside
        return False
    return store.take(key, metrics, environment, started, ended)
