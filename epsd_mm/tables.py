"""Tables as text: for terminals and logs, and in Markdown."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_JUSTIFY = dict(l='left', r='right')


def text_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    align: str = '',
    width: int = 100,
) -> str:
    """A table between lines, as text that ends with a newline.

    Args:
        title: Stands above it.
        headings: One a column.
        rows: Cells as text, shown as they are.
        total: The last row, below a line of its own.
        align: ``'l'`` or ``'r'`` for each column; by default the first is
            left-aligned and the others, numbers mostly, right-aligned.
        width: Most characters a line; longer cells are broken.
    """
    table = Table(title=title)
    align = align or 'l' + 'r' * (len(headings) - 1)
    for heading, side in zip(headings, align, strict=True):
        table.add_column(heading, justify=_JUSTIFY[side])
    for row in rows:
        table.add_row(*row)
    if total is not None:
        table.add_section()
        table.add_row(*total)
    text = io.StringIO()
    # A name such as '[ab].weight' or ':star:' is neither markup nor emoji.
    Console(width=width, file=text, markup=False, emoji=False).print(table)
    return text.getvalue()


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """A table in Markdown, as text that ends with a newline.

    Args:
        headings: One a column.
        rows: Cells as text.
    """
    lines = [headings, ['---'] * len(headings), *rows]
    return ''.join(
        f'| {" | ".join(map(_markdown_cell, line))} |\n' for line in lines
    )


def _markdown_cell(text: str) -> str:
    return ' '.join(text.split('\n')).replace('|', '\\|')
