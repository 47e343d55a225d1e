"""What a training has logged, over its iterations."""

from epsd_mm.pages import Figure, Section
from epsd_mm.pages.drawing import panels
from epsd_mm.quantities import kind_of
from epsd_mm.results import Log, scores_of

from .run_folder import RunFolder

# Metrics of several kinds would not share an axis, and the first is the one
# that a config names first.
_TERMS, _DISTILLED = 'loss_', 'loss_sd'


def curves(run: RunFolder) -> Section | None:
    """Losses, metric and learning rate; None where nothing was logged."""
    if run.log is None:
        return None
    lines = run.log.by_iteration
    names = dict.fromkeys(name for line in lines.values() for name in line)

    def drawn(name: str) -> list[tuple[float, float]]:
        return [(i, line[name]) for i, line in lines.items() if name in line]

    terms = [n for n in names if n.startswith(_TERMS) and n != _DISTILLED]
    shown = {
        'loss': {'loss': drawn('loss')},
        'its terms' if len(terms) > 1 else ''.join(terms): {
            name.removeprefix(_TERMS): drawn(name) for name in terms
        },
        'self-distillation': {_DISTILLED: drawn(_DISTILLED)},
        **_metric(run.log),
        'learning rate': {'lr': drawn('lr')},
    }
    shown = {
        label: {name: points for name, points in lines.items() if points}
        for label, lines in shown.items()
    }
    return Section(
        'Curves',
        (),
        [
            Figure(
                'curves',
                panels({k: v for k, v in shown.items() if v}, 'iteration'),
                'As logged: losses are means over the last iterations before '
                'each point.',
            )
        ],
    )


def _metric(log: Log) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The first metric, by the iterations after which it was measured."""
    if not log.evaluations:
        return {}
    name = next(iter(scores_of(log.evaluations[-1])), None)
    last = log.training[-1]
    each = 1.0
    if 'epoch' in last:
        each = max(log.by_iteration) / last['epoch']
    points = {
        each * line['step']: line[name]
        for line in log.evaluations
        if name in line
    }
    if len(points) < 2:
        return {}
    label = f'{name}, %' if kind_of(name)[0] == '%' else name
    return {label: {name: sorted(points.items())}}
