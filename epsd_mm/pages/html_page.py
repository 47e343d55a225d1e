"""A page as one HTML file."""

import html
import re
from collections.abc import Callable, Sequence

from .blocks import Block, Note, Section, Table
from .drawing import DARK

_NUMBER = re.compile(r'[+\-−]?\d[\d.,]*(e[+\-]?\d+)?(\s|%|$)')
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
.named td, .named td.number { text-align: left; white-space: normal; }
td.long { min-width: min(15rem, 44vw); max-width: 30rem; }
.named td.long { min-width: 0; }
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
# Photographs stay as they are.
_STYLE += (
    '@media (prefers-color-scheme: dark) { figure svg:not(:has(image)) { '
    f'{DARK} }} }}\n'
)


def html_page(
    title: str,
    lead: str,
    parts: Sequence[Section],
    tone: Callable[[str], str] = lambda text: '',
) -> str:
    """A page without anything beside it.

    Args:
        title: Its heading.
        lead: A sentence below that.
        parts: The first one is set apart: what someone reads who reads
            nothing else. A list of all follows it.
        tone: For the text of a cell that is a verdict, ``'for'``,
            ``'against'``, ``'open'`` or ``'idle'``.
    """
    links = ''.join(
        f'<a href="#s{i}">{html.escape(part.title)}</a> '
        for i, part in enumerate(parts)
    )
    first, *rest = (_section(i, part, tone) for i, part in enumerate(parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{html.escape(title)}</h1>'
        f'<p>{html.escape(lead)}</p>{first}<nav>{links}</nav>'
        f'{"".join(rest)}</body></html>\n'
    )


def _section(index: int, part: Section, tone: Callable[[str], str]) -> str:
    paragraphs = ''.join(f'<p>{html.escape(text)}</p>' for text in part.text)
    blocks = ''.join(_block(block, tone) for block in part.blocks)
    return (
        f'<section id="s{index}"><h2>{html.escape(part.title)}</h2>'
        f'{paragraphs}{blocks}</section>'
    )


def _block(block: Block, tone: Callable[[str], str]) -> str:
    if isinstance(block, Note):
        return f'<p class="note">{html.escape(block.text)}</p>'
    if isinstance(block, Table):
        return _table(block, tone)
    caption = html.escape(block.caption)
    return (
        f'<figure><div class="scroll">{block.svg}</div>'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def _table(block: Table, tone: Callable[[str], str]) -> str:
    head, kind = '', 'named'
    if any(block.headings):
        cells = ''.join(f'<th>{html.escape(h)}</th>' for h in block.headings)
        head = f'<thead><tr>{cells}</tr></thead>'
        # Sentences in columns are read one below the other on a narrow screen.
        prose = any(
            len(text) > _LONG for row in block.rows for text in row[1:]
        )
        kind = 'prose' if prose else ''
    rows = ''.join(
        f'<tr>{"".join(_cell(text, tone(text)) for text in row)}</tr>'
        for row in block.rows
    )
    table = (
        f'<div class="scroll"><table class="{kind}">{head}'
        f'<tbody>{rows}</tbody></table></div>'
    )
    if block.folded:
        title = html.escape(block.folded)
        table = f'<details><summary>{title}</summary>{table}</details>'
    return table


def _cell(text: str, tone: str) -> str:
    kind = ''
    if tone:
        kind = f'verdict {tone}'
    elif _NUMBER.match(text) and len(text) < _LONG:
        kind = 'number'
    elif len(text) > _LONG:
        kind = 'long'
    shown = html.escape(text).replace('\n', '<br>')
    return f'<td class="{kind}">{shown}</td>'
