"""Draw results.svg: what a suite has found, as README shows it.

    python docs/draw_results.py docs/study/micro_q75.py \\
        docs/study/micro_q75/results.json

Above each method at its sparsity, below what was compared pair by pair.
Bars are 95 % intervals; one that crosses zero tells nothing apart.
"""

import argparse
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from epsd_mm.benchmark.comparison import Arm, Comparison
from epsd_mm.benchmark.export import read_json
from epsd_mm.benchmark.statistics import Difference
from epsd_mm.benchmark.suite import Suite
from epsd_mm.files import write_text
from epsd_mm.pages.drawing import COLOURS, svg_of

# 800 by 480 pixels of a screen, of which 400 are left on a phone.
_SIZE = 800 / 72, 470 / 72
_LETTERS = 21


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('suite', help='file of the suite')
    parser.add_argument('results', help='results.json that it has exported')
    args = parser.parse_args()
    suite = Suite.load(args.suite)
    comparison = Comparison(suite, read_json(args.results))
    out = Path(__file__).with_name('results.svg')
    write_text(out, drawing(comparison))


def drawing(comparison: Comparison) -> str:
    """The picture of the first set-up of a suite, as SVG."""
    setup = next(iter(comparison.suite.setups))
    metric = comparison.primary(setup)
    unit = comparison.unit(metric)
    arms = [
        arm
        for arm in comparison.arms_of(setup)
        if comparison.summary(arm, metric)
    ]
    pairs = compared(comparison, setup)
    canvas = Figure(figsize=_SIZE, layout='constrained')
    above, below = canvas.subplots(
        2, 1, height_ratios=(len(arms) + 1.2, len(pairs) + 1.2)
    )
    for row, arm in enumerate(arms):
        summary = comparison.summary(arm, metric)
        colour = COLOURS[0] if arm.sparsity is None else COLOURS[1]
        _point(above, row, summary.mean, *summary.interval(), colour)
    _finish(above, [_named(arm) for arm in arms])
    name = comparison.suite.setups[setup].metric.split('/')[-1]
    above.set_xlabel(f'{name}{"," * bool(unit)}{unit}', fontsize=_LETTERS)
    for row, found in enumerate(pairs.values()):
        _point(below, row, found.mean, found.low, found.high, '#222222')
    below.axvline(0, color='#888888', lw=2)
    _finish(below, list(pairs))
    below.set_xlabel(
        f'points gained, {found.n} pairs of one seed', fontsize=_LETTERS
    )
    return svg_of(canvas)


def compared(comparison: Comparison, setup: str) -> dict[str, Difference]:
    """The claims of a suite, and what the dense network gains."""
    found = {
        f'{_short(first)} − {_short(second)}': comparison.gain(first, second)
        for first, second in map(
            comparison.claim_arms, comparison.suite.claims
        )
    }
    for distilled, gain in comparison.dense_benefit(setup):
        found[f'{distilled} − dense'] = gain
    return {name: gain for name, gain in found.items() if gain is not None}


def _named(arm: Arm) -> str:
    if arm.sparsity is None:
        return arm.method
    return f'{_short(arm)}, {arm.sparsity:.0%}'


def _short(arm: Arm) -> str:
    return arm.method.replace('Simple Combination', 'Simple Comb.')


def _point(
    axes: Axes, row: int, mean: float, low: float, high: float, colour: str
) -> None:
    axes.plot([low, high], [row, row], color=colour, lw=4)
    axes.plot(mean, row, 'o', color=colour, markersize=12)


def _finish(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(labelsize=_LETTERS)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.4)
    axes.set_axisbelow(True)


if __name__ == '__main__':
    main()
