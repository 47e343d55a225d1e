"""A report as one HTML file, and as Markdown with its figures beside it."""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from epsd_mm.files import atomic_write
from epsd_mm.tables import markdown_table

from ..comparison import Comparison
from .blocks import Figure, Section, Table
from .from_folders import folder_sections
from .sections import sections

_NUMBER = re.compile(r'[+\-−]?\d')
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto;
  max-width: 60rem; padding: 1rem 1.25rem 4rem; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid #ddd;
  text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
figure { margin: .8rem 0; }
figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #555; max-width: 46rem; }
nav { font-size: .88rem; line-height: 1.8; }
nav a { margin-right: .9rem; white-space: nowrap; }
a { color: #245a94; }
.supported { color: #2a6b2a; font-weight: 600; }
.not-supported { color: #a33; font-weight: 600; }
.undecided, .no-claim { color: #8a5a00; font-weight: 600; }
footer { margin-top: 3rem; font-size: .85rem; color: #555; }
"""


def write_report(
    comparison: Comparison, cells: Path, folder: str | Path
) -> list[Path]:
    """Write ``report.html``, ``report.md`` and its figures, ``results.csv``.

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
    parts = [
        *sections(comparison),
        *folder_sections(comparison, Path(cells)),
        _versions(comparison),
    ]
    done = len(comparison.finished), len(comparison.suite.cells)
    title = comparison.suite.title
    pages = {
        'report.html': _html(title, done, parts),
        'report.md': _markdown(title, done, parts),
    }
    for part in parts:
        for block in part.blocks:
            if isinstance(block, Figure):
                pages[f'{block.name}.svg'] = block.svg
    for name, content in pages.items():
        with atomic_write(folder / name) as file:
            file.write(content.encode())
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
            Table(('cell', 'key'), cells, folded=True),
        ],
    )


def _html(title: str, done: tuple[int, int], parts: Sequence[Section]) -> str:
    links = ''.join(
        f'<a href="#s{i}">{html.escape(part.title)}</a> '
        for i, part in enumerate(parts)
    )
    body = ''.join(_html_section(i, part) for i, part in enumerate(parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{html.escape(title)}</h1>'
        f'<p>{_progress(done)}</p><nav>{links}</nav>{body}</body></html>\n'
    )


def _html_section(index: int, part: Section) -> str:
    paragraphs = ''.join(f'<p>{html.escape(text)}</p>' for text in part.text)
    blocks = ''.join(_html_block(block) for block in part.blocks)
    return (
        f'<section id="s{index}"><h2>{html.escape(part.title)}</h2>'
        f'{paragraphs}{blocks}</section>'
    )


def _html_block(block: Table | Figure) -> str:
    if isinstance(block, Figure):
        caption = html.escape(block.caption)
        return (
            f'<figure><div class="scroll">{block.svg}</div>'
            f'<figcaption>{caption}</figcaption></figure>'
        )
    head = ''.join(f'<th>{html.escape(h)}</th>' for h in block.headings)
    rows = ''.join(
        f'<tr>{"".join(map(_html_cell, row))}</tr>' for row in block.rows
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )
    if block.folded:
        table = (
            f'<details><summary>{len(block.rows)} rows</summary>{table}'
            '</details>'
        )
    return table


def _html_cell(text: str) -> str:
    verdicts = ('supported', 'not supported', 'undecided', 'no claim')
    kind = ''
    if text in verdicts:
        kind = f' class="{text.replace(" ", "-")}"'
    elif _NUMBER.match(text):
        kind = ' class="number"'
    return f'<td{kind}>{html.escape(text)}</td>'


def _markdown(
    title: str, done: tuple[int, int], parts: Sequence[Section]
) -> str:
    lines = [f'# {title}', '', _progress(done), '']
    for part in parts:
        lines += [f'## {part.title}', '']
        for text in part.text:
            lines += [text, '']
        for block in part.blocks:
            lines += [*_markdown_block(block), '']
    return '\n'.join(lines)


def _markdown_block(block: Table | Figure) -> Iterable[str]:
    if isinstance(block, Figure):
        yield f'![{block.caption}]({block.name}.svg)'
        return
    yield markdown_table(block.headings, block.rows).rstrip()


def _progress(done: tuple[int, int]) -> str:
    finished, total = done
    if finished == total:
        return f'All {total} cells are finished.'
    return f'{finished} of {total} cells are finished; the rest is not here.'
