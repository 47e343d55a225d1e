"""What a page is made of, whatever it is written in."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; numbers are right-aligned.

    Attributes:
        headings: One a column; of empty ones, for names and what they
            are, nothing is shown.
        rows: Cells as text.
        folded: What opens it, where it is shown only when asked for.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ''


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        name: Of its file.
        svg: The drawing.
        caption: What it shows.
    """

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Note:
    """A paragraph that belongs below what it explains.

    Attributes:
        text: In plain words.
    """

    text: str


Block = Table | Figure | Note


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        text: Paragraphs.
        blocks: Tables, figures and notes, in order.
    """

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Block] = field(default_factory=tuple)
