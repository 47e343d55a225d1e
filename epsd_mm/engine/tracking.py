"""What is found before training, shown where its curves are.

That is in the backends of the run's visualizer: TensorBoard, W&B, MLflow.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from epsd_mm.config_types import narrowed_layers
from epsd_mm.pages.drawing import bars, pixels_of
from epsd_mm.pruning import Masks
from epsd_mm.results import scoring_of

#: By what they are shares of: by name, the share.
_Shares = Mapping[str, Mapping[str, float]]


def track_scoring(runner: Runner, report: Mapping) -> None:
    """Show the figures of a report, the losses it saw, and its layers."""
    found = {name: q.value for name, q in scoring_of(report).items()}
    curves = [
        {f'scoring/loss_{name}': value for name, value in terms.items()}
        for terms in report['terms']
    ]
    layers = report['layers']
    drawn: dict[str, _Shares] = {'density': _densities(layers)}
    scored = {n: x['mass'] for n, x in layers.items() if 'mass' in x}
    if scored:
        drawn['score_mass'] = {'share in the sum of all scores': scored}
    if units := report.get('channels'):
        drawn['units_kept'] = _densities(units)
        mass = {n: x['mass'] for n, x in units.items() if 'mass' in x}
        if mass:
            drawn['score_mass'] = {'share in the sum of all scores': mass}
    _show(runner, [(0, found), *enumerate(curves)], drawn)


def track_masks(runner: Runner, masks: Masks) -> None:
    """Show the layers of masks that were given."""
    found = {
        'scoring/sparsity': masks.sparsity,
        'scoring/kept': float(masks.kept),
    }
    _show(runner, [(0, found)], {'density': _densities(masks.layers())})


def track_narrowed(runner: Runner) -> None:
    """Show what is left of a network whose channels are gone for good."""
    layers = narrowed_layers(runner.cfg)
    if layers:
        left = {
            name: after / before for name, (before, after) in layers.items()
        }
        _show(runner, [], {'outputs_left': {'outputs left': left}})


def _densities(layers: Mapping[str, Mapping]) -> _Shares:
    return {
        'density (kept / total)': {n: x['density'] for n, x in layers.items()}
    }


def _show(
    runner: Runner,
    scalars: list[tuple[int, dict]],
    drawn: Mapping[str, _Shares],
) -> None:
    """Tell each backend; what one of them cannot take stops no training."""
    if not is_main_process():
        return
    # MLflow takes it for a file's name, whose end says its kind.
    images = {f'{n}.png': pixels_of(bars(x)) for n, x in drawn.items()}
    # The visualizer's own loop ends at the first backend that fails.
    for name, backend in runner.visualizer._vis_backends.items():
        failed = []
        for step, values in scalars:
            failed += _failure(backend.add_scalars, values, step=step)
        for title, image in images.items():
            failed += _failure(backend.add_image, title, image)
        if failed:
            runner.logger.warning(
                f'{len(failed)} of {len(scalars) + len(images)} figures and '
                f'drawings of what was found before training do not reach '
                f'{name}, a backend of the visualizer: {failed[0]}'
            )


def _failure(tell: Callable, *args: Any, **kwargs: Any) -> list[Exception]:
    try:
        tell(*args, **kwargs)
    except Exception as error:  # trackers are many, and some are far away
        return [error]
    return []
