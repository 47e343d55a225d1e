"""What the saved file of a cell keeps, which must be what was asked."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from torch import Tensor

from epsd_mm.analysis import read_report
from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings, settings_of
from epsd_mm.pruning import Masks
from epsd_mm.quantities import Quantity
from epsd_mm.results import scoring_of
from epsd_mm.run_files import REPORT

from .compact_cell import figures_of
from .scored_apart import LENDER


class UnfairError(RuntimeError):
    """A run whose result must not be compared with others."""


def figures_of_saved(
    cfg: Config, lender: Config | None = None
) -> dict[str, Quantity]:
    """Sparsity of the last checkpoint of a cell, and what scoring cost.

    Args:
        cfg: Of the cell, with its ``work_dir``.
        lender: Config of the run whose masks it trained under, if there is
            one.

    Raises:
        UnfairError: Removed weights are not zero there, or not as many are
            kept as were asked: exactly for single weights, and within one
            unit for larger ones.
    """
    work_dir = Path(cfg.work_dir)
    path = find_latest_checkpoint(str(work_dir))
    checkpoint = load_values(path, 'cpu')
    saved = SavedState.unpack(checkpoint.get('epsd'))
    masks, weights = saved.masks, checkpoint['state_dict']
    if masks is None:
        try:
            return figures_of(cfg, work_dir, weights)
        except ValueError as error:
            raise UnfairError(f'{path}: {error}') from error
    revived = sum(
        int(weights[name][~mask].count_nonzero())
        for name, mask in masks.items()
    )
    if revived:
        raise UnfairError(
            f'{revived:,} of the removed weights are not zero in {path}: '
            'something wrote weights after the last step, such as a hook of '
            'the config'
        )
    found = {'saved/sparsity': Quantity(masks.sparsity)}
    settings = settings_of(cfg)
    if settings.changes:
        _check_count(path, masks, settings, weights, saved.left_dense)
        return found
    for folder, scored in ((work_dir, cfg), (work_dir / LENDER, lender)):
        if not (folder / REPORT).is_file():
            continue
        report = read_report(folder / REPORT)
        _check_same(path, masks, report['layers'])
        _check_count(
            path,
            Masks({name: masks[name] for name in report['layers']}),
            settings_of(scored),
            weights,
            report['left_dense'],
        )
        found |= scoring_of(report)
    return found


def _check_same(path: str, masks: Masks, layers: Mapping[str, dict]) -> None:
    for name, layer in layers.items():
        kept = int(masks[name].sum()) if name in masks else 0
        if kept != layer['kept']:
            raise UnfairError(
                f'{path} keeps {kept:,} weights of {name}, and scoring had '
                f'kept {layer["kept"]:,}: they are of two runs, so remove '
                'the folder and run the cell again'
            )


def _check_count(
    path: str,
    masks: Masks,
    settings: Settings,
    weights: Mapping[str, Tensor],
    left_dense: Collection[str],
) -> None:
    """Raise unless as many weights are kept as were asked."""
    covered = {*masks, *left_dense}
    target = settings.target(
        {name: w for name, w in weights.items() if name in covered}
    ).without(left_dense)
    ones = {name: torch.ones(shape) for name, shape in target.shapes.items()}
    asked = target.select(ones).kept
    if abs(masks.kept - asked) >= target.largest_unit:
        what = (
            'let the policy end before the last step'
            if settings.changes
            else 'something has changed its masks, such as a hook of the '
            'config'
        )
        raise UnfairError(
            f'{path} keeps {masks.kept:,} of {masks.total:,} weights '
            f'(sparsity {masks.sparsity:.4f}), and {asked:,} were asked '
            f'(sparsity {settings.sparsity}): {what}'
        )
