"""The cells of a suite for those who only look, without torch or mm.

What a key is takes all of the package to find out. ``run`` leaves a list of
the cells in the folder of the suite, which holds as long as suite, configs and
package are the same.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from epsd_mm.files import write_text
from epsd_mm.version import __version__

from .suite_file import read_suite_file

if TYPE_CHECKING:
    from .suite import Suite

LISTING = 'listing.json'
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class ListedCell:
    """What tells a cell from others."""

    key: str
    name: str
    content: dict[str, Any]

    def spec(self) -> dict[str, Any]:
        """Plain values that say what the cell is."""
        return self.content


@dataclass(frozen=True)
class Listing:
    """Title and cells of a :class:`~epsd_mm.benchmark.suite.Suite`."""

    title: str
    cells: list[ListedCell]


def write_listing(suite: 'Suite', folder: Path) -> None:
    """Leave a list of the cells, unless it could not be told to be old."""
    digest = _digest(suite.path)
    if digest is not None:
        cells = [[cell.key, cell.name, cell.spec()] for cell in suite.cells]
        content = dict(digest=digest, title=suite.title, cells=cells)
        write_text(folder / LISTING, json.dumps(content, indent=1))


def read_listing(path: str | Path, folder: str | Path) -> Listing | None:
    """The list that a run has left, if it is of the suite as it is now.

    Args:
        path: Of the suite.
        folder: Of its store and cells.
    """
    with suppress(Exception):  # a config is a program: anything may go wrong
        content = json.loads(Path(folder, LISTING).read_text())
        if content['digest'] == _digest(Path(path)):
            cells = [ListedCell(*cell) for cell in content['cells']]
            return Listing(content['title'], cells)
    return None


def _digest(path: Path) -> str | None:
    """Of all that decides keys; None where code of others may take part."""
    suite = read_suite_file(path)
    configs = [
        Config.fromfile(
            path.parent / setup['config'], import_custom_modules=False
        ).to_dict()
        for setup in suite['setups'].values()
    ]
    for config in configs:
        imports = (config.get('custom_imports') or {}).get('imports', ())
        if {name.partition('.')[0] for name in imports} - {'epsd_mm'}:
            return None
    text = json.dumps([__version__, suite, configs], default=repr)
    digest = hashlib.sha256(text.encode())
    for source in sorted(_PACKAGE.rglob('*.py')):
        digest.update(source.read_bytes())
    return digest.hexdigest()
