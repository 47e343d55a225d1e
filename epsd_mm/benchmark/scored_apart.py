"""Cells that score in a folder of its own, and train from what is left."""

import copy
from pathlib import Path

from mmengine.config import Config

from epsd_mm.borrowed_masks import BORROWED, with_borrowed_masks
from epsd_mm.early_pruning import prune_before_training
from epsd_mm.engine.runner import complete
from epsd_mm.pruning import Masks
from epsd_mm.runs import Run

#: Of a cell that trains under masks of another run: where they were scored.
LENDER = 'lender'
_MASKS = 'epsd/masks.pth'


def score_apart(cfg: Config, folder: Path, *made: str) -> None:
    """Do once what a training does before its first step.

    Args:
        cfg: Of the training.
        folder: For what comes of it, in the folder of the cell.
        made: Files in it that are there once all of it is done.
    """
    if all((folder / name).is_file() for name in made):
        return
    # Of a process that did not get to the end.
    for name in ('config.py', 'init.pth'):
        (folder / name).unlink(missing_ok=True)
    told = copy.deepcopy(cfg)
    told.experiment_name = f'{folder.parent.name}_{folder.name}'
    told.resume, told.load_from = False, None
    prune_before_training(complete(told), folder)


def logs_apart(cfg: Config, folder: Path) -> Config:
    """Let what trains afterwards not log into the folder of the scoring."""
    cfg.pop('experiment_name', None)
    if cfg.get('visualizer') is not None:
        cfg.visualizer.name = str(folder)
    return cfg


def lent_masks(cfg: Config, run: Run) -> Config:
    """The config of a cell under the masks that another run would have.

    They are scored here, so that no cell waits for another one.

    Args:
        cfg: Of a cell, with its ``work_dir``.
        run: That it is of.
    """
    work_dir = Path(cfg.work_dir)
    folder = work_dir / LENDER
    score_apart(run.lender.resolve(), folder, 'config.py', _MASKS)
    masks = Masks.load(folder / _MASKS)
    if run.shuffled:
        masks = masks.shuffled(run.seed or 0)
    masks.save(work_dir / BORROWED)
    cfg = with_borrowed_masks(copy.deepcopy(cfg), str(work_dir / BORROWED))
    return logs_apart(cfg, folder)
