"""A run's page, from its parts."""

from pathlib import Path

from epsd_mm.pages import Section, Table, html_page

from .curves import curves
from .in_words import config_in_short, in_short
from .kept import smaller, units_kept, weights_kept
from .painting import painted
from .run_folder import RunFolder
from .seen_images import SeenImages
from .spending import spending


def run_page(
    run: RunFolder,
    predictions: SeenImages | str,
    threshold: float = 0.3,
) -> str:
    """A page without anything beside it, as HTML.

    Args:
        run: The files of the run.
        predictions: Of test images, or why there are none.
        threshold: Lowest score of a detection that is shown.
    """
    shape = None
    if isinstance(predictions, str):
        shown = Section('Test images', [predictions])
    else:
        shown = painted(predictions, threshold)
        width, height = predictions.seen[0].image.size
        shape = height, width
    parts = [
        in_short(run),
        curves(run),
        weights_kept(run),
        units_kept(run),
        smaller(run),
        shown,
        spending(run, shape),
        config_in_short(run),
        _files(run.path),
    ]
    title = run.path.resolve().name
    lead = f'A run of epsd_mm: {run.path}'
    return html_page(title, lead, [part for part in parts if part])


def _files(path: Path) -> Section:
    rows = [
        [str(file.relative_to(path)), f'{file.stat().st_size / 1e6:,.2f}']
        for file in sorted(path.rglob('*'))
        if file.is_file() and len(file.relative_to(path).parts) < 4
    ]
    return Section(
        'Files', (), [Table(('file', 'megabytes'), rows, 'Every file')]
    )
