"""Draw results.svg: what two suites have found, as README shows it.

    python docs/draw_results.py

Above a classifier at one sparsity, below a detector at several: of each what
every method reaches, and what was gained pair by pair. Bars are 95 %
intervals; one that crosses zero tells nothing apart.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from epsd_mm.benchmark.comparison import Arm, Comparison
from epsd_mm.benchmark.export import read_json
from epsd_mm.benchmark.statistics import Difference, Summary
from epsd_mm.benchmark.suite import Suite
from epsd_mm.files import write_text
from epsd_mm.pages.drawing import COLOURS, MARKERS, dark_in_the_dark, svg_of

_ROOT = Path(__file__).parents[1]
#: Suite and what it has exported, of one set-up each.
CLASSIFIER = 'docs/study/micro_q75.py', 'docs/study/micro_q75/results.json'
DETECTOR = 'configs/benchmarks/bccd.py', 'docs/study/bccd/results.json'
# In inches: 800 pixels of a screen, of which 400 are left on a phone.
_SIZE = 800 / 72, 1000 / 72
_LETTERS = 21
_APART = 0.16  # methods at one sparsity, where sparsities are 1 apart

#: How the points of a name look.
Looks = Mapping[str, dict]


def main() -> None:
    write_text(Path(__file__).with_name('results.svg'), drawing())


def drawing() -> str:
    """Both suites, as SVG."""
    canvas = Figure(figsize=_SIZE, layout='constrained')
    above, below = canvas.subfigures(2, 1, height_ratios=(40, 60))
    _in_rows(above, comparison_of(CLASSIFIER))
    _by_sparsity(below, comparison_of(DETECTOR))
    return dark_in_the_dark(svg_of(canvas))


def comparison_of(study: tuple[str, str]) -> Comparison:
    """What a suite has found, by its export."""
    suite, results = (_ROOT / path for path in study)
    return Comparison(Suite.load(suite), read_json(results))


def reached(comparison: Comparison) -> dict[Arm, Summary]:
    """What each method of a suite reaches."""
    (setup,) = comparison.suite.setups
    metric = comparison.primary(setup)
    return {
        arm: summary
        for arm in comparison.arms_of(setup)
        if (summary := comparison.summary(arm, metric))
    }


def gained(comparison: Comparison) -> dict[tuple[Arm, Arm], Difference]:
    """EPSD against all that is as sparse, and SD against the dense network."""
    (setup,) = comparison.suite.setups
    pairs = [
        (own, other)
        for other in reversed(comparison.arms_of(setup))
        for own in comparison.with_role(setup, 'epsd')
        if other.sparsity == own.sparsity and other != own
    ]
    (dense,) = comparison.with_role(setup, 'dense')
    pairs += [(sd, dense) for sd, _ in comparison.dense_benefit(setup)]
    found = {pair: comparison.gain(*pair) for pair in pairs}
    return {pair: gain for pair, gain in found.items() if gain is not None}


def _in_rows(canvas: SubFigure, comparison: Comparison) -> None:
    """Of one sparsity: a row for each method, and for each pair."""
    arms, pairs = reached(comparison), gained(comparison)
    looks = _looks(arms)
    above, below = canvas.subplots(
        2, 1, height_ratios=(len(arms) + 1.2, len(pairs) + 1.2)
    )
    for row, (arm, found) in enumerate(arms.items()):
        _point(above, row, found.mean, found.interval(), looks[arm.method])
    for row, ((_, other), found) in enumerate(pairs.items()):
        ends = found.low, found.high
        _point(below, row, found.mean, ends, looks[other.method])
    named = [
        _short(arm) + (f', {arm.sparsity:.0%}' if arm.sparsity else '')
        for arm in arms
    ]
    for axes, names in ((above, named), (below, [*map(_minus, pairs)])):
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        _finish(axes)
    below.axvline(0, color='#888888', lw=2)
    above.set_title('A classifier: top-1, %', fontsize=_LETTERS)
    below.set_title(_of_pairs('points', pairs), fontsize=_LETTERS)


def _by_sparsity(canvas: SubFigure, comparison: Comparison) -> None:
    """Of several: what is reached, and gained, over them."""
    arms, pairs = reached(comparison), gained(comparison)
    looks = _looks(arms)
    sparsities = list(dict.fromkeys(arm.sparsity for arm in arms))
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=(6, 5))
    for arm, found in arms.items():
        at = _beside(arm, arms, sparsities)
        look = looks[arm.method] | dict(label=_short(arm))
        _point(above, at, found.mean, found.interval(), look, upright=True)
    others = [other for _, other in pairs]
    for (own, other), found in pairs.items():
        at = _beside(other, others, sparsities)
        look = looks[other.method] | dict(label=_minus((own, other)))
        ends = found.low, found.high
        _point(below, at, found.mean, ends, look, upright=True)
    names = [f'{share:.0%}' if share else 'dense' for share in sparsities]
    below.set_xticks(range(len(names)), names)
    below.axhline(0, color='#888888', lw=2)
    below.locator_params(axis='y', nbins=4)
    for axes in (above, below):
        _finish(axes)
    _legend(above, 'A detector: mAP50', columns=3)
    _legend(below, _of_pairs('mAP50', pairs), columns=2)
    below.set_xlabel('weights removed', fontsize=_LETTERS)


def _looks(arms: Mapping[Arm, Summary]) -> Looks:
    """As the report of a suite has them."""
    methods = dict.fromkeys(arm.method for arm in arms)
    return {
        method: dict(color=COLOURS[index], marker=MARKERS[index])
        for index, method in enumerate(methods)
    }


def _beside(arm: Arm, drawn: Iterable[Arm], sparsities: list) -> float:
    """A place of its own at its sparsity."""
    alike = [each for each in drawn if each.sparsity == arm.sparsity]
    from_middle = alike.index(arm) - (len(alike) - 1) / 2
    return sparsities.index(arm.sparsity) + _APART * from_middle


def _point(
    axes: Axes,
    at: float,
    mean: float,
    ends: tuple[float, float],
    look: Mapping,
    upright: bool = False,
) -> None:
    errors = [[mean - ends[0]], [ends[1] - mean]]
    if upright:
        place, error = (at, mean), dict(yerr=errors)
    else:
        place, error = (mean, at), dict(xerr=errors)
    look = look | dict(elinewidth=4, markersize=11, linestyle='none')
    axes.errorbar(*place, **error, **look)


def _legend(axes: Axes, title: str, columns: int) -> None:
    """Each name once, above all points."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles))
    axes.legend(
        once.values(),
        once.keys(),
        title=title,
        ncols=columns,
        loc='lower center',
        bbox_to_anchor=(0.45, 0.97),
        fontsize=_LETTERS,
        title_fontsize=_LETTERS,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=_LETTERS)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.4)
    axes.set_axisbelow(True)


def _minus(pair: tuple[Arm, Arm]) -> str:
    return ' − '.join(map(_short, pair))


def _short(arm: Arm) -> str:
    return arm.method.replace('Simple Combination', 'Simple Comb.')


def _of_pairs(what: str, pairs: Mapping[tuple, Difference]) -> str:
    numbers = sorted({found.n for found in pairs.values()})
    return f'{what} gained, {"/".join(map(str, numbers))} pairs of one seed'


if __name__ == '__main__':
    main()
