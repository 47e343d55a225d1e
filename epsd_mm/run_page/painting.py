"""Test images with their objects or labels, as SVG."""

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from epsd_mm.pages import Figure, Section
from epsd_mm.pages.drawing import COLOURS

from .seen_images import Box, Seen, SeenImages

# Of a picture and of a thumbnail, in units of a drawing.
_WIDTH, _THUMBNAIL, _GAP = 400, 150, 16
_LARGEST = 640  # pixels of an image's longer side in the page


def painted(predictions: SeenImages, threshold: float) -> Section:
    """What was seen, beside the truth.

    Args:
        predictions: Of some images.
        threshold: Lowest score of a detection that is shown.
    """
    about = f'{len(predictions.seen)} test images, evenly over the set.'
    if predictions.detects:
        text = [
            f'{about} Left: what is annotated (dashed: what no metric counts)'
            f'; right: detections with a score of {threshold:g} and more.'
        ]
        blocks = [
            _beside_truth(seen, predictions.classes, threshold)
            for seen in predictions.seen
        ]
        return Section('Detections beside ground truth', text, blocks)
    text = [f'{about} Green: the class with the highest score is right.']
    return Section('Predictions', text, [_labelled(predictions)])


def _beside_truth(
    seen: Seen, classes: Sequence[str], threshold: float
) -> Figure:
    found = [box for box in seen.found if box.score >= threshold]
    scale = _WIDTH / seen.image.width
    height = round(scale * seen.image.height)
    right = _WIDTH + _GAP
    there = {box.label for box in (*seen.truth, *found)}
    legend, top = _legend(sorted(there), classes, right + _WIDTH)
    picture = _embedded(seen.image, _WIDTH, height)
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
        f'viewBox="0 0 {right + _WIDTH} {height + top}">{legend}'
        f'<g transform="translate(0 {top})">{picture}'
        f'{_boxes(seen.truth, scale, scored=False)}</g>'
        f'<g transform="translate({right} {top})">{picture}'
        f'{_boxes(found, scale, scored=True)}</g></svg>'
    )
    caption = f'{seen.name}: {len(seen.truth)} objects, {len(found)} found'
    return Figure(f'detections_{seen.name}', drawing, caption)


def _legend(
    labels: Sequence[int], classes: Sequence[str], width: int
) -> tuple[str, int]:
    """The colours of classes, in rows, and their height."""
    left, row, parts = 0, 1, []
    for label in labels:
        name = classes[label] if label < len(classes) else str(label)
        wide = 34 + 9 * len(name)
        if left and left + wide > width:
            left, row = 0, row + 1
        parts.append(
            f'<rect x="{left}" y="{20 * row - 16}" width="12" height="12" '
            f'fill="{_colour(label)}"/><text x="{left + 17}" '
            f'y="{20 * row - 5}" font-size="14">{escape(name)}</text>'
        )
        left += wide
    return ''.join(parts), 20 * row + 4


def _boxes(boxes: Sequence[Box], scale: float, scored: bool) -> str:
    shown = []
    for box in boxes:
        left, top, right, bottom = (scale * side for side in box.corners)
        dashed = '' if box.counts else ' stroke-dasharray="5 4"'
        shown.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}" fill="none" stroke-width="2" '
            f'stroke="{_colour(box.label)}"{dashed}/>'
        )
        if scored:
            shown.append(
                f'<text x="{left + 3:.1f}" y="{top + 13:.1f}" font-size="12" '
                'font-weight="bold" fill="#fff" stroke="#000" '
                f'stroke-width="2.5" paint-order="stroke">{box.score:.2f}'
                '</text>'
            )
    return ''.join(shown)


def _labelled(predictions: SeenImages) -> Figure:
    columns = 5
    rows = -(-len(predictions.seen) // columns)
    cell = _THUMBNAIL + 52
    drawn = []
    for index, seen in enumerate(predictions.seen):
        across = (_THUMBNAIL + _GAP) * (index % columns)
        down = cell * (index // columns)
        drawn.append(
            f'<g transform="translate({across} {down})">'
            f'{_thumbnail(seen, predictions.classes)}</g>'
        )
    width = (_THUMBNAIL + _GAP) * columns - _GAP
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
        f'viewBox="0 0 {width} {cell * rows}">{"".join(drawn)}</svg>'
    )
    right = sum(_best(seen) in seen.truth for seen in predictions.seen)
    caption = (
        f'Below each: its class, then the best guess. {right} of '
        f'{len(predictions.seen)} are right.'
    )
    return Figure('predictions', drawing, caption)


def _thumbnail(seen: Seen, classes: Sequence[str]) -> str:
    def name(label: int) -> str:
        shown = classes[label] if label < len(classes) else str(label)
        return escape(shown if len(shown) < 15 else f'{shown[:13]}…')

    best = _best(seen)
    colour = '#2a6b2a' if best in seen.truth else '#a33'
    truth = ', '.join(map(name, seen.truth))
    return (
        f'{_embedded(seen.image, _THUMBNAIL, _THUMBNAIL)}'
        f'<text y="{_THUMBNAIL + 18}" font-size="15">{truth}</text>'
        f'<text y="{_THUMBNAIL + 37}" font-size="15" fill="{colour}">'
        f'{name(best)} {seen.found[best]:.2f}</text>'
    )


def _best(seen: Seen) -> int:
    return max(range(len(seen.found)), key=seen.found.__getitem__)


def _colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]


def _embedded(image: Image.Image, width: int, height: int) -> str:
    """The pixels of an image, inside of the drawing."""
    small = image.convert('RGB')
    small.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    small.save(file, 'JPEG', quality=85)
    pixels = base64.b64encode(file.getvalue()).decode()
    # Few pixels stay pixels instead of fog.
    crisp = ' style="image-rendering: pixelated"'
    return (
        f'<image width="{width}" height="{height}" '
        f'href="data:image/jpeg;base64,{pixels}"'
        f'{crisp if max(small.size) < 100 else ""}/>'
    )
