"""Cells that prune whole channels: made smaller before their first step."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from epsd_mm.analysis import read_report
from epsd_mm.config_types import find_hook
from epsd_mm.early_pruning import prune_before_training
from epsd_mm.engine.runner import complete
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.settings import Settings
from epsd_mm.quantities import Quantity
from epsd_mm.results import scoring_of

#: Of a cell: where the smaller network and its scores are.
PRUNED = 'pruned'


def removes_channels(cfg: Config) -> bool:
    """Whether the hook of a config prunes units of several layers."""
    found = find_hook(cfg, 'EPSDHook')
    if found is None:
        return False
    hooks, place = found
    options = dict(hooks[place])
    for name in ('type', 'priority'):
        options.pop(name, None)
    return Settings.build(**options).units is not None


def made_compact(cfg: Config) -> Config:
    """The config of the smaller network, which is scored and cut once.

    It trains as the one with zeros in place of the channels would, in less
    time (:func:`~epsd_mm.compaction.compare`).

    Args:
        cfg: Of a cell, with its ``work_dir``.
    """
    folder = Path(cfg.work_dir) / PRUNED
    if not (folder / 'config.py').is_file():
        # Written before the config, by a process that did not get there.
        (folder / 'init.pth').unlink(missing_ok=True)
        told = copy.deepcopy(cfg)
        told.experiment_name = f'{Path(cfg.work_dir).name}_pruned'
        told.resume, told.load_from = False, None
        prune_before_training(complete(told), folder)
    small = Config.fromfile(folder / 'config.py')
    small.pop('experiment_name', None)
    for name in ('work_dir', 'launcher', 'resume', 'load_from'):
        small[name] = cfg.get(name)
    return small


def figures_of(work_dir: Path, state: dict[str, Any]) -> dict[str, Quantity]:
    """What scoring cost and left, of a cell that was made compact.

    Args:
        work_dir: Of the cell.
        state: The ``state_dict`` that its training ended with.

    Raises:
        ValueError: A tensor is not as narrow as after the cut.
    """
    folder = work_dir / PRUNED
    if not (folder / 'config.py').is_file():
        return {}
    start = load_values(folder / 'init.pth', 'cpu')['state_dict']
    for name, value in start.items():
        if name not in state or state[name].shape != value.shape:
            raise ValueError(
                f'{name} is of shape {tuple(value.shape)} in {folder}, and '
                'the training has ended with another'
            )
    report = read_report(folder / 'epsd' / 'report.json')
    units = report['channels'].values()
    kept = sum(unit['kept'] for unit in units)
    share = kept / sum(unit['total'] for unit in units)
    return scoring_of(report) | {'saved/units': Quantity(share)}
