"""The drawings of a report, as SVG."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from epsd_mm.pages.drawing import BESIDE, COLOURS, MARKERS, axes_of, svg_of

from ..statistics import Difference


def against_sparsity(
    curves: Mapping[str, Mapping[float, tuple[float, float, float]]],
    levels: Mapping[str, tuple[float, float, float]],
    label: str,
) -> str:
    """A metric against sparsity, with intervals.

    Args:
        curves: By method: by sparsity, the mean and both ends.
        levels: The same of dense methods, which have no sparsity.
        label: Of the metric.
    """
    canvas, axes = axes_of(7.0, 3.8)
    positions = sorted({s for points in curves.values() for s in points})
    where = {sparsity: index for index, sparsity in enumerate(positions)}
    for index, (name, (mean, low, high)) in enumerate(levels.items()):
        colour = '#222222' if index == 0 else '#888888'
        axes.axhline(mean, color=colour, linestyle='--', lw=1.2, label=name)
        axes.axhspan(low, high, color=colour, alpha=0.08, lw=0)
    for index, (name, points) in enumerate(curves.items()):
        # Side by side, so that intervals at one sparsity do not cover.
        shift = (index - (len(curves) - 1) / 2) * 0.5 / max(1, len(curves))
        at = [where[s] + shift for s in points]
        means, lows, highs = map(np.array, zip(*points.values()))
        axes.errorbar(
            at,
            means,
            yerr=np.array([means - lows, highs - means]),
            label=name,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            lw=1.4,
            capsize=3,
        )
    axes.set_xticks(range(len(positions)), [f'{s:.6g}' for s in positions])
    axes.set_xlim(-0.6, max(0.6, len(positions) - 0.4))
    axes.set_xlabel('sparsity')
    axes.set_ylabel(label)
    axes.legend(**BESIDE)
    return svg_of(canvas)


def against_costs(
    costs: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    label: str,
) -> str:
    """A metric against what it costs, one drawing a cost, from zero on.

    Args:
        costs: By cost: by method, pairs of cost and metric.
        label: Of the metric.
    """
    size = 3.4 * len(costs) + 1.8, 3.4
    canvas = Canvas(figsize=size, layout='constrained')
    rows = canvas.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    names = list(
        dict.fromkeys(n for methods in costs.values() for n in methods)
    )
    lines = {}
    for axes, (cost, methods) in zip(rows, costs.items()):
        for name, points in methods.items():
            index = names.index(name)
            (lines[name],) = axes.plot(
                *zip(*sorted(points)),
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=5,
                lw=1.2,
                label=name,
            )
        axes.set_xlim(left=0)
        axes.set_xlabel(cost)
        axes.spines[['top', 'right']].set_visible(False)
    rows[0].set_ylabel(label)
    rows[-1].legend(handles=[lines[name] for name in names], **BESIDE)
    return svg_of(canvas)


def forest(differences: Mapping[str, Difference], label: str) -> str:
    """Paired differences with their intervals, one a line.

    One that would squeeze all others is an arrow at the edge.
    """
    canvas, axes = axes_of(7.0, 0.9 + 0.36 * len(differences))
    ends = [max(abs(d.low), abs(d.high)) for d in differences.values()]
    limit = min(max(ends), 5 * float(np.median(ends))) or 1.0
    for row, difference in enumerate(differences.values()):
        axes.plot(
            [difference.low, difference.high], [row, row], color=COLOURS[0]
        )
        shown = min(max(difference.mean, -limit), limit)
        marker = 'o' if shown == difference.mean else '<>'[shown > 0]
        axes.plot(shown, row, marker, color=COLOURS[0], markersize=6)
        axes.annotate(
            f'{difference.mean:+.3g}, n = {difference.n}'.replace('-', '−'),
            (1.01, row),
            xycoords=('axes fraction', 'data'),
            va='center',
            fontsize=8,
        )
    axes.axvline(0, color='#444444', lw=1)
    axes.set_xlim(-1.08 * limit, 1.08 * limit)
    axes.set_yticks(range(len(differences)), list(differences), fontsize=8)
    axes.set_ylim(len(differences) - 0.4, -0.6)
    axes.set_xlabel(label)
    return svg_of(canvas)


def heat_map(
    names: Sequence[str], values: np.ndarray, label: str, digits: int = 2
) -> str:
    """A square of numbers between 0 and 1."""
    size = 2.2 + 0.55 * len(names)
    canvas, axes = axes_of(size + 1.6, size)
    axes.imshow(values, cmap='Blues', vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            value = values[row, column]
            if np.isfinite(value):
                axes.text(
                    *(column, row, f'{value:.{digits}f}'),
                    ha='center',
                    va='center',
                    fontsize=8,
                    color='white' if value > 0.6 else '#222222',
                )
    axes.set_xticks(range(len(names)), names, rotation=40, ha='right')
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=8)
    axes.set_title(label, fontsize=9)
    return svg_of(canvas)


def first_steps(
    curves: Mapping[str, tuple[Sequence[float], np.ndarray]], label: str
) -> str:
    """A loss over the first iterations.

    Args:
        curves: By method: the iterations, and a row of values for each seed.
        label: Of the loss.
    """
    canvas, axes = axes_of(7.0, 3.2)
    for index, (name, (steps, values)) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        mean = values.mean(axis=0)
        axes.plot(
            steps,
            mean,
            label=name,
            color=colour,
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            lw=1.3,
        )
        if len(values) > 1:
            std = values.std(axis=0, ddof=1)
            axes.fill_between(
                steps, mean - std, mean + std, color=colour, alpha=0.15, lw=0
            )
    axes.set_xlabel('iteration')
    axes.set_ylabel(label)
    axes.legend(**BESIDE)
    return svg_of(canvas)


def risk_coverage(
    coverage: np.ndarray, curves: Mapping[str, np.ndarray]
) -> str:
    """What is wrong among the most confident predictions.

    Args:
        coverage: How many of them, as shares, shape (K,).
        curves: By method: mean and both ends of its interval, shape (3, K).
    """
    canvas, axes = axes_of(7.0, 3.4)
    for index, (name, (mean, low, high)) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            coverage,
            mean,
            label=name,
            color=colour,
            marker=MARKERS[index % len(MARKERS)],
            markevery=(5, 19),
            markersize=4,
            lw=1.3,
        )
        axes.fill_between(coverage, low, high, color=colour, alpha=0.12, lw=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel('coverage')
    axes.set_ylabel('risk')
    axes.legend(**BESIDE)
    return svg_of(canvas)
