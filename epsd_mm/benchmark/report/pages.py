"""A report as one HTML file, and as Markdown with its figures beside it."""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from epsd_mm.files import write_text
from epsd_mm.tables import markdown_table

from ..comparison import Comparison
from ..folders import Folders
from .blocks import Block, Figure, Note, Section, Table
from .from_folders import folder_sections
from .sections import sections

_NUMBER = re.compile(r'[+\-−]?\d[\d.,]*(e[+\-]?\d+)?(\s|$)')
# Colours of verdicts; of those that are mixed by how they begin.
_VERDICTS = {
    'supported': 'for',
    'not supported': 'against',
    'descriptive: points to it': 'for',
    'descriptive: points against it': 'against',
    'not tested here': 'idle',
}
_OPEN = ('undecided', 'no claim', 'descriptive: ', 'in part: ')
# Text that is longer gets a column that is wide enough to read it.
_LONG = 32
_STYLE = """
:root { color-scheme: light dark; --text: #222; --page: #fff;
  --line: #ddd; --soft: #555; --link: #245a94; --for: #2a6b2a;
  --against: #a33; --open: #8a5a00; --lead: #f4f6f9; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4;
  --page: #17191c; --line: #3a3d42; --soft: #a8a8a8; --link: #8ab8ea;
  --for: #8fd08f; --against: #f09a9a; --open: #e5bd6a; --lead: #21252b; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--page); margin: 0 auto; max-width: 62rem;
  padding: 1rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
#s0 { background: var(--lead); border-radius: .5rem;
  padding: .1rem 1rem .6rem; margin: 1rem 0; }
#s0 h2 { margin-top: .6rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--soft); font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
td.long { min-width: min(15rem, 44vw); max-width: 30rem; }
td.verdict { font-weight: 600; min-width: 6rem; }
.for { color: var(--for); } .against { color: var(--against); }
.open { color: var(--open); } .idle { color: var(--soft); }
figure { margin: .8rem 0; }
figure svg { background: #fff; color: #222; width: 100%; max-width: 46rem;
  min-width: 32rem; height: auto; }
figcaption { font-size: .85rem; color: var(--soft); max-width: 46rem; }
.note { font-size: .88rem; color: var(--soft); }
@media (max-width: 40rem) { table.prose thead { display: none; }
  table.prose tr { display: block; padding: .4rem 0;
    border-bottom: 1px solid var(--line); }
  table.prose td { display: block; border: 0; padding: .1rem .2rem; }
  table.prose td.number { text-align: left; }
  table.prose td:empty { display: none; } }
summary { cursor: pointer; color: var(--link); }
nav { font-size: .88rem; line-height: 1.8; }
nav a { margin-right: .9rem; }
a { color: var(--link); }
"""


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
    title = comparison.suite.title
    pages = {
        'report.html': _html(title, done, parts),
        'report.md': _markdown(title, done, parts),
    }
    for part in parts:
        for block in part.blocks:
            if isinstance(block, Figure):
                pages[_file_of(block)] = block.svg
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


def _html(title: str, done: tuple[int, int], parts: Sequence[Section]) -> str:
    links = ''.join(
        f'<a href="#s{i}">{html.escape(part.title)}</a> '
        for i, part in enumerate(parts)
    )
    first, *rest = (_html_section(i, part) for i, part in enumerate(parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{html.escape(title)}</h1>'
        f'<p>{_progress(done)}</p>{first}<nav>{links}</nav>'
        f'{"".join(rest)}</body></html>\n'
    )


def _html_section(index: int, part: Section) -> str:
    paragraphs = ''.join(f'<p>{html.escape(text)}</p>' for text in part.text)
    blocks = ''.join(_html_block(block) for block in part.blocks)
    return (
        f'<section id="s{index}"><h2>{html.escape(part.title)}</h2>'
        f'{paragraphs}{blocks}</section>'
    )


def _html_block(block: Block) -> str:
    if isinstance(block, Note):
        return f'<p class="note">{html.escape(block.text)}</p>'
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
    # Sentences in columns are read one below the other on a narrow screen.
    prose = any(len(text) > _LONG for row in block.rows for text in row[1:])
    kind = ' class="prose"' if prose else ''
    table = (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )
    if block.folded:
        title = html.escape(block.folded)
        table = f'<details><summary>{title}</summary>{table}</details>'
    return table


def _html_cell(text: str) -> str:
    kind = ''
    if text in _VERDICTS:
        kind = f'verdict {_VERDICTS[text]}'
    elif text.startswith(_OPEN):
        kind = 'verdict open'
    elif _NUMBER.match(text) and len(text) < _LONG:
        kind = 'number'
    elif len(text) > _LONG:
        kind = 'long'
    shown = html.escape(text).replace('\n', '<br>')
    return f'<td class="{kind}">{shown}</td>'


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


def _markdown_block(block: Block) -> Iterable[str]:
    if isinstance(block, Note):
        yield block.text
        return
    if isinstance(block, Figure):
        yield f'![{block.caption}]({_file_of(block)})'
        return
    if block.folded:
        yield from (f'**{block.folded}**', '')
    yield markdown_table(block.headings, block.rows).rstrip()


def _file_of(figure: Figure) -> str:
    return re.sub(r'[^\w.-]+', '_', figure.name) + '.svg'


def _progress(done: tuple[int, int]) -> str:
    finished, total = done
    if finished == total:
        return f'All {total} cells are finished.'
    return f'{finished} of {total} cells are finished; the rest is not here.'
