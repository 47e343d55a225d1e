"""Pages of text, tables and drawings: HTML that stands alone, Markdown."""

from .blocks import Block, Figure, Note, Section, Table
from .html_page import html_page
from .markdown_page import file_of, markdown_page

__all__ = [
    'Block',
    'Figure',
    'Note',
    'Section',
    'Table',
    'file_of',
    'html_page',
    'markdown_page',
]
