"""Draw flow.svg: from an initial network to a file, as README shows it.

    python docs/draw_flow.py

README is as wide as 800 pixels on a screen and as narrow as 400 on a phone:
no letter is smaller than a fortieth of the width.
"""

from html import escape
from pathlib import Path

from epsd_mm.files import write_text
from epsd_mm.pages.drawing import dark_in_the_dark

WIDTH, HEIGHT = 800, 356
_BOX = 232, 148  # width and height
_COLUMNS, _ROWS = (4, 284, 564), (6, 200)
_INK, _SOFT, _LINK, _LINE = '#1f2328', '#4d5661', '#0550ae', '#8c959f'

# Column, row, title, what it is, the command.
_STEPS = (
    (0, 0, 'initial network', ('any mmdet or', 'mmpretrain config'), ''),
    (1, 0, 'score', ('a few steps, with', 'self-distillation'), ''),
    (2, 0, 'remove', ('single weights or', 'whole channels'), 'prune.py'),
    (1, 1, 'train', ('what is left, with', 'the same loss'), 'train.py'),
    (2, 1, 'deploy', ('ONNX, OpenVINO,', 'int8, no torch'), 'export.py'),
)
_BESIDE = (
    *('No second network, no', 'pre-training: weights'),
    *('go before the first', 'step of training.'),
)


def drawing() -> str:
    """The picture, as SVG."""
    parts = [_box(*step) for step in _STEPS]
    middle = _ROWS[0] + _BOX[1] // 2
    for column in (0, 1):
        right = _COLUMNS[column] + _BOX[0]
        parts.append(_arrow(f'M{right} {middle} H{_COLUMNS[column + 1] - 4}'))
    below = _ROWS[0] + _BOX[1]
    gap = (below + _ROWS[1]) // 2
    down, left = (_COLUMNS[c] + _BOX[0] // 2 for c in (2, 1))
    parts.append(_arrow(f'M{down} {below} V{gap} H{left} V{_ROWS[1] - 4}'))
    right, middle = _COLUMNS[1] + _BOX[0], _ROWS[1] + _BOX[1] // 2
    parts.append(_arrow(f'M{right} {middle} H{_COLUMNS[2] - 4}'))
    for index, line in enumerate(_BESIDE):
        y = _ROWS[1] + 40 + 28 * index
        parts.append(_text(_COLUMNS[0] + 8, y, line, _SOFT, anchor='start'))
    content = '\n'.join(parts)
    return dark_in_the_dark(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" role="img" '
        'aria-label="Initial network, scores, removal, training and '
        'deployment, in this order">\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{_SOFT}"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        f'{content}\n</svg>\n'
    )


def _box(
    column: int, row: int, title: str, lines: tuple[str, ...], tool: str
) -> str:
    left, top = _COLUMNS[column], _ROWS[row]
    middle = left + _BOX[0] // 2
    parts = [
        f'<rect x="{left}" y="{top}" width="{_BOX[0]}" height="{_BOX[1]}" '
        f'rx="9" fill="#f6f8fa" stroke="{_LINE}"/>',
        _text(middle, top + 36, title, _INK, size=24, weight='bold'),
    ]
    for index, line in enumerate(lines):
        parts.append(_text(middle, top + 70 + 26 * index, line, _SOFT))
    if tool:
        parts.append(_text(middle, top + 132, f'tools/{tool}', _LINK))
    return '\n'.join(parts)


def _text(
    x: int,
    y: int,
    text: str,
    colour: str,
    size: int = 21,
    weight: str = 'normal',
    anchor: str = 'middle',
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _arrow(path: str) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{_SOFT}" stroke-width="2" '
        'marker-end="url(#head)"/>'
    )


if __name__ == '__main__':
    write_text(Path(__file__).with_name('flow.svg'), drawing())
