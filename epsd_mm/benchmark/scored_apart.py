"""Cells that score in a folder of its own, and train from what is left."""

import copy
from pathlib import Path

from mmengine.config import Config

from epsd_mm.borrowed_masks import BORROWED, with_borrowed_masks
from epsd_mm.early_pruning import prune_before_training
from epsd_mm.engine.runner import complete
from epsd_mm.pruning import Masks
from epsd_mm.run_files import MASKS
from epsd_mm.runs import Run

from .earlier_cells import after_earlier

#: Of a cell that trains under masks of another run: where they were scored.
LENDER = 'lender'


def score_apart(cfg: Config, folder: Path, *made: str, whole: bool) -> None:
    """Do once what a training does before its first step.

    Args:
        cfg: Of the training.
        folder: For what comes of it, in the folder of the cell.
        made: Files in it that are there once all of it is done.
        whole: Let all weights be those of ``load_from``, as of another run;
            else those that fit, as mmengine loads them.
    """
    if all((folder / name).is_file() for name in made):
        return
    # Of a process that did not get to the end.
    for name in ('config.py', 'init.pth'):
        (folder / name).unlink(missing_ok=True)
    told = copy.deepcopy(cfg)
    told.experiment_name = f'{folder.parent.name}_{folder.name}'
    told.resume = False
    origin = told.get('load_from') if whole else None
    prune_before_training(complete(told), folder, origin)


def logs_apart(cfg: Config, folder: Path) -> Config:
    """Let what trains afterwards not log into the folder of the scoring."""
    cfg.pop('experiment_name', None)
    if cfg.get('visualizer') is not None:
        cfg.visualizer.name = str(folder)
    return cfg


def lent_masks(cfg: Config, run: Run) -> Config:
    """The config of a cell under the masks that another run would have.

    They are scored here, so that the cell waits for no other one, unless
    what is scored is a trained network.

    Args:
        cfg: Of a cell, with its ``work_dir``.
        run: That it is of.
    """
    work_dir = Path(cfg.work_dir)
    folder = work_dir / LENDER
    lender = after_earlier(run.masks_of.resolve(), work_dir.parent)
    whole = run.masks_of.weights_of is not None
    score_apart(lender, folder, 'config.py', MASKS, whole=whole)
    masks = Masks.load(folder / MASKS)
    if run.shuffled:
        masks = masks.shuffled(run.seed or 0)
    masks.save(work_dir / BORROWED)
    cfg = with_borrowed_masks(copy.deepcopy(cfg), str(work_dir / BORROWED))
    return logs_apart(cfg, folder)
