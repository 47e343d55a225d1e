"""A report as one HTML file, and as Markdown with its figures beside it."""

from pathlib import Path

from epsd_mm.files import write_text
from epsd_mm.pages import (
    Figure,
    Section,
    Table,
    file_of,
    html_page,
    markdown_page,
)

from ..comparison import Comparison
from ..folders import Folders
from .from_folders import folder_sections
from .sections import sections

# Tones of verdicts.
_VERDICTS = {
    'supported': 'for',
    'not supported': 'against',
    'descriptive: points to it': 'for',
    'descriptive: points against it': 'against',
    'not tested here': 'idle',
}
_OPEN = ('undecided', 'no claim', 'descriptive: ', 'in part: ')


def write_report(
    comparison: Comparison, cells: Path, folder: str | Path
) -> list[Path]:
    """Write ``report.html``, ``report.md`` and its figures.

    Args:
        comparison: The finished cells of a suite.
        cells: Holds the work dir of each cell under its key; what is not
            there any more is left out.
        folder: Where the files go.

    Returns:
        The pages.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folders = Folders(comparison, cells)
    parts = [
        *sections(comparison, folders),
        *folder_sections(comparison, folders),
        _versions(comparison),
    ]
    done = len(comparison.finished), len(comparison.suite.cells)
    title, lead = comparison.suite.title, _progress(done)
    pages = {
        'report.html': html_page(title, lead, parts, _tone),
        'report.md': markdown_page(title, lead, parts),
    }
    for part in parts:
        for block in part.blocks:
            if isinstance(block, Figure):
                pages[file_of(block)] = block.svg
    for name, content in pages.items():
        write_text(folder / name, content)
    return [folder / 'report.html', folder / 'report.md']


def _versions(comparison: Comparison) -> Section:
    """What the cells ran with, and which those are."""
    found: dict[tuple, int] = {}
    for _, entry in comparison.finished:
        environment = tuple(sorted((entry.environment or {}).items()))
        found[environment] = found.get(environment, 0) + 1
    rows = [
        [str(count), ', '.join(f'{name} {value}' for name, value in versions)]
        for versions, count in found.items()
    ]
    cells = [[cell.name, entry.key] for cell, entry in comparison.finished]
    return Section(
        'Cells and versions',
        ['A key is the hash of all that decides the result of a cell.'],
        [
            Table(('cells', 'ran with'), rows),
            Table(('cell', 'key'), cells, folded='Every cell and its key'),
        ],
    )


def _tone(text: str) -> str:
    """Of verdicts; of those that are mixed by how they begin."""
    return _VERDICTS.get(text, 'open' if text.startswith(_OPEN) else '')


def _progress(done: tuple[int, int]) -> str:
    finished, total = done
    if finished == total:
        return f'All {total} cells are finished.'
    return f'{finished} of {total} cells are finished; the rest is not here.'
