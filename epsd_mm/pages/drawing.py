"""How drawings of pages look."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

COLOURS = (
    '#3b6ea5 #c0504d #5a8f4a #8064a2 #d08a2e #3f9fa6 #7f7f7f #a0527b'.split()
)
MARKERS = 'osD^vP*'
#: In CSS, what makes a drawing on white one on nearly black, in its colours.
DARK = 'filter: invert(.9) hue-rotate(180deg)'
#: Options of a legend at the right of a drawing, which it covers nowhere.
BESIDE = dict(
    fontsize=8, frameon=False, loc='center left', bbox_to_anchor=(1, 0.5)
)
_RC = {'svg.fonttype': 'none', 'svg.hashsalt': 'epsd_mm'}


def densities(
    layers: Sequence[str], curves: Mapping[str, Sequence[float]]
) -> str:
    """Density of each layer by method, on a logarithmic scale."""
    canvas, axes = axes_of(7.0, 3.6)
    for index, (name, values) in enumerate(curves.items()):
        shown = np.array(values, dtype=float)
        shown[shown == 0] = np.nan  # an empty layer has no logarithm
        axes.plot(
            shown,
            label=name,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.5,
            lw=1.1,
        )
    axes.set_yscale('log')
    axes.set_ylabel('density (kept / total)')
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=5.5)
    axes.legend(**BESIDE)
    return svg_of(canvas)


def bars(shares: Mapping[str, Mapping[str, float]]) -> Canvas:
    """Shares of the same things side by side, a bar each.

    Args:
        shares: By what they are shares of: by name, the share.
    """
    names = list(next(iter(shares.values())))
    canvas = Canvas(
        figsize=(7.2, 0.8 + 0.155 * len(names)), layout='constrained'
    )
    row = canvas.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for index, (axes, (label, values)) in enumerate(zip(row, shares.items())):
        axes.barh(names, list(values.values()), color=COLOURS[index])
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.margins(y=0.01)
        _plain(axes)
    row[0].invert_yaxis()
    return canvas


def panels(
    drawings: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    label: str,
) -> str:
    """Curves over the same axis, two drawings a row.

    Args:
        drawings: By what they show: by name, the points of a curve.
        label: Of the axis that they share.
    """
    rows = -(-len(drawings) // 2)
    canvas = Canvas(figsize=(7.6, 2.3 * rows), layout='constrained')
    grid = canvas.subplots(rows, 2, sharex=True, squeeze=False).flatten()
    for axes, (title, curves) in zip(grid, drawings.items()):
        for index, (name, points) in enumerate(curves.items()):
            marker = 'o' if len(points) < 20 else ''
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(
                *zip(*points),
                label=name,
                color=colour,
                marker=marker,
                markersize=3,
                lw=1.2,
            )
        axes.set_title(title, fontsize=9, loc='left')
        axes.tick_params(labelsize=7.5)
        if len(curves) > 1:
            axes.legend(fontsize=7, frameon=False)
        _plain(axes)
    for axes in grid[len(drawings) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(drawings) - 2) : len(drawings)]:
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelbottom=True)
    return svg_of(canvas)


def axes_of(width: float, height: float) -> tuple[Canvas, Axes]:
    """An empty drawing and its axes.

    Args:
        width: In inches.
        height: In inches.
    """
    canvas = Canvas(figsize=(width, height), layout='constrained')
    axes = canvas.add_subplot()
    _plain(axes)
    return canvas, axes


def _plain(axes: Axes) -> None:
    """Two sides and a faint grid are all that is around the data."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)


def pixels_of(canvas: Canvas) -> np.ndarray:
    """The drawing as pixels: height, width, and red, green, blue."""
    canvas.set_dpi(120)
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()


def dark_in_the_dark(svg: str) -> str:
    """A drawing for a file of its own, dark where its reader's screen is."""
    start, end, rest = svg.partition('>')
    style = f'@media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}'
    return f'{start}{end}\n<style>{style}</style>{rest}'


def svg_of(canvas: Canvas) -> str:
    """The drawing as SVG, to stand in a page."""
    FigureCanvasSVG(canvas)
    text = io.StringIO()
    # Text stays text; and the same results give the same page: without a
    # date, and with names that are hashes of what they name.
    with rc_context(_RC):
        canvas.savefig(text, format='svg', metadata=dict(Date=None))
    drawing = text.getvalue()
    return drawing[drawing.index('<svg') :]
