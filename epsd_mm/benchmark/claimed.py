"""When the claims of a suite were named: before its cells ran, or after."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from epsd_mm.files import write_text

from .suite import Suite

FILE = 'claims.json'


def note_claims(suite: Suite, folder: Path, finished: int) -> None:
    """Note what is claimed, and over which seeds, unless that is noted.

    Claims that are named, and seeds that are added, once results have been
    seen are not what the test of a claim takes for granted.

    Args:
        suite: What is run.
        folder: Of the suite.
        finished: Cells of it that have a result already.
    """
    noted = _noted(folder)
    if suite.claims and _content(suite) not in noted:
        noted[_content(suite)] = finished
        write_text(folder / FILE, json.dumps(noted, indent=1))


def finished_before(suite: Suite, folder: Path) -> int | None:
    """Cells that had a result when the claims were noted.

    Returns:
        Their number; None where nothing is known of it.
    """
    return _noted(folder).get(_content(suite))


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


def _noted(folder: Path) -> dict[str, int]:
    """By content; nothing where no run has left it, or it is damaged."""
    try:
        noted = json.loads((folder / FILE).read_text())
        return {str(content): int(n) for content, n in noted.items()}
    except (OSError, AttributeError, TypeError, ValueError):
        return {}
