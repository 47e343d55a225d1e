"""When the claims of a suite were named: before its cells ran, or after."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from epsd_mm.files import write_text

from .suite import Suite
from .suite_folder import RESULT

FILE = 'claims.json'
_CELLS = 'cells'


@dataclass(frozen=True)
class Noted:
    """What is known of when claims were named.

    Attributes:
        finished: Cells that had a result when they were noted.
        changed: What they compare that is another run now than it was then,
            each once; None where that was not noted.
    """

    finished: int
    changed: list[str] | None


def note_claims(suite: Suite, folder: Path, finished: int) -> None:
    """Note what is claimed, of which cells, unless that is noted.

    Claims that are named, seeds that are added, and methods that are changed
    under their names, once results have been seen, are not what the test of
    a claim takes for granted. A note that has no result beside it yet may be
    replaced.

    Args:
        suite: What is run.
        folder: Of the suite.
        finished: Cells of it that have a result already.
    """
    if not suite.claims:
        return
    notes, content = _read(folder), _content(suite)
    now = dict(finished=finished, keys=_keys(suite))
    before = notes.get(content)
    # A change of what nobody has seen a result of is no change.
    unseen = before and not before['finished'] and not _ran(folder)
    if before is None or (unseen and not finished and before != now):
        notes[content] = now
        write_text(folder / FILE, json.dumps(notes, indent=1))


def noted(suite: Suite, folder: Path) -> Noted | None:
    """What the runs of a suite have noted of its claims.

    Returns:
        None where nothing is known of it.
    """
    note = _read(folder).get(_content(suite))
    if note is None or note['keys'] is None:
        return note and Noted(note['finished'], None)
    changed = [
        name.rpartition('/')[0]  # whatever the seed
        for name, key in _keys(suite).items()
        if note['keys'].get(name) != key
    ]
    return Noted(note['finished'], list(dict.fromkeys(changed)))


def _content(suite: Suite) -> str:
    """What the tests of a suite depend on, whatever it is called."""
    content = dict(
        claims=sorted(
            json.dumps(asdict(claim), sort_keys=True) for claim in suite.claims
        ),
        metrics=[
            [name, setup.metric, setup.lower_is_better]
            for name, setup in sorted(suite.setups.items())
            if any(claim.setup == name for claim in suite.claims)
        ],
        seeds=sorted(suite.seeds),
    )
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _keys(suite: Suite) -> dict[str, str]:
    """Keys of the cells that claims compare, by the names of those."""
    sides = {
        (claim.setup, name, claim.sparsity)
        for claim in suite.claims
        for name in (claim.first, claim.second)
    }
    return {
        cell.name: cell.key
        for cell in suite.asked
        for setup, method, sparsity in sides
        if (setup, method) == (cell.setup.name, cell.method.name)
        and cell.sparsity in (None, sparsity)
    }


def _ran(folder: Path) -> bool:
    """Whether a cell has left a result, of this suite or as it was."""
    return any((folder / _CELLS).glob(f'*/{RESULT}'))


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """By content; nothing where no run has left it, or it is damaged.

    Notes of earlier versions have no keys, and are a number.
    """
    try:
        notes = json.loads((folder / FILE).read_text())
        return {str(content): _note(note) for content, note in notes.items()}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _note(note: Any) -> dict[str, Any]:
    if isinstance(note, int):
        return dict(finished=note, keys=None)
    return dict(finished=int(note['finished']), keys=dict(note['keys']))
