"""A page in Markdown."""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from epsd_mm.tables import markdown_table

from .blocks import Block, Figure, Note, Section


def markdown_page(title: str, lead: str, parts: Sequence[Section]) -> str:
    """A page whose drawings are files beside it, see :func:`file_of`.

    Args:
        title: Its heading.
        lead: A sentence below that.
        parts: In order.
    """
    lines = [f'# {title}', '', lead, '']
    for part in parts:
        lines += [f'## {part.title}', '']
        for text in part.text:
            lines += [text, '']
        for block in part.blocks:
            lines += [*_block(block), '']
    return '\n'.join(lines)


def _block(block: Block) -> Iterable[str]:
    if isinstance(block, Note):
        yield block.text
        return
    if isinstance(block, Figure):
        yield f'![{block.caption}]({file_of(block)})'
        return
    if block.folded:
        yield from (f'**{block.folded}**', '')
    yield markdown_table(block.headings, block.rows).rstrip()


def file_of(figure: Figure) -> str:
    """Name of the file of a drawing, another one for each name."""
    name = re.sub(r'[^\w.-]+', '_', figure.name)
    if name != figure.name:
        name += f'_{sha256(figure.name.encode()).hexdigest()[:6]}'
    return f'{name}.svg'
