"""Cells that prune whole channels: made smaller before their first step."""

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from epsd_mm.analysis import Report, read_report
from epsd_mm.early_pruning import WORK
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.settings import Settings, settings_of
from epsd_mm.quantities import Quantity
from epsd_mm.results import scoring_of
from epsd_mm.run_files import REPORT
from epsd_mm.training import StartError

from .scored_apart import logs_apart, score_apart

#: Of a cell: where the smaller network and its scores are.
PRUNED = 'pruned'
#: Widths go in steps, so that a network is rarely as small as was asked: it
#: may be this share of the whole one away from it. Our choice.
SLACK = 0.02


def removes_channels(cfg: Config) -> bool:
    """Whether the hook of a config prunes units of several layers."""
    settings = settings_of(cfg)
    return settings is not None and settings.units is not None


def made_compact(cfg: Config, whole: bool) -> Config:
    """The config of the smaller network, which is scored and cut once.

    It trains as the one with zeros in place of the channels would, in less
    time (:func:`~epsd_mm.compaction.compare`).

    Args:
        cfg: Of a cell, with its ``work_dir``.
        whole: As of :func:`~epsd_mm.benchmark.scored_apart.score_apart`.

    Raises:
        StartError: It is not as small as was asked.
    """
    folder = Path(cfg.work_dir) / PRUNED
    score_apart(cfg, folder, 'config.py', WORK, whole=whole)
    start = load_values(folder / 'init.pth', 'cpu')['state_dict']
    try:
        _counted(settings_of(cfg), folder, start, read_report(folder / REPORT))
    except ValueError as error:
        raise StartError(f'{folder}: {error}') from error
    small = logs_apart(Config.fromfile(folder / 'config.py'), folder)
    for name in ('work_dir', 'launcher', 'resume'):
        small[name] = cfg.get(name)
    # What it starts from is that which was left of the whole one.
    small.load_from = None
    return small


def figures_of(
    cfg: Config, work_dir: Path, state: dict[str, Any]
) -> dict[str, Quantity]:
    """What scoring cost and left, of a cell that was made compact.

    Args:
        cfg: Of the cell, which says how much was to go.
        work_dir: Of the cell.
        state: The ``state_dict`` that its training ended with.

    Raises:
        ValueError: A tensor is not as narrow as after the cut, or the
            network is not as small as was asked.
    """
    folder = work_dir / PRUNED
    if not (folder / 'config.py').is_file():
        return {}
    start = load_values(folder / 'init.pth', 'cpu')['state_dict']
    for name, value in start.items():
        if name not in state or state[name].shape != value.shape:
            raise ValueError(
                f'{name} is of shape {tuple(value.shape)} in {folder}, and '
                'the training has ended with another: they are of two runs, '
                'so remove the folder and run the cell again'
            )
    report = read_report(folder / REPORT)
    units = report['channels'].values()
    kept = sum(unit['kept'] for unit in units)
    share = kept / sum(unit['total'] for unit in units)
    return (
        scoring_of(report)
        | {'saved/units': Quantity(share)}
        | _counted(settings_of(cfg), folder, state, report)
    )


def _counted(
    asked: Settings, pruned: Path, state: dict[str, Any], report: Report
) -> dict[str, Quantity]:
    """Weights and multiply-adds of the saved network, once they are fair."""
    work = json.loads((pruned / WORK).read_text())
    times = work['multiplications']
    price = dict(weights=[0, 0], multiply_adds=[0.0, 0.0])
    for name, layer in report['layers'].items():
        for at, count in enumerate((state[name].numel(), layer['total'])):
            price['weights'][at] += count
            price['multiply_adds'][at] += count * times[name]
    shares = {of: left / whole for of, (left, whole) in price.items()}
    share, budget = shares[asked.units.of], 1 - asked.sparsity
    if abs(share - budget) > SLACK:
        kind = asked.units.kind
        raise ValueError(
            f'it has {share:.4f} of the {asked.units.of} of the whole '
            f'network, where {budget:.4f} was asked: let widths be a '
            f"multiple of less, structure=dict(type='{kind}', "
            f'of={asked.units.of!r}, multiple_of=…)'
        )
    done, whole = price['multiply_adds']
    return {
        'saved/sparsity': Quantity(1 - shares['weights']),
        'saved/multiply_adds': Quantity(done / work['images']),
        'saved/dense_multiply_adds': Quantity(whole / work['images']),
    }
