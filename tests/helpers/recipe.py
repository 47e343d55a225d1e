"""Short trainings, whose figures tell whether results are what they were.

    python -m tests.helpers.recipe

writes the figures of now beside the tests, after a change of the recipe.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from epsd_mm.engine.safe_loading import load_values
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.variants import POLICIES
from epsd_mm.results import Log
from epsd_mm.runs import RECIPE_VERSION

from .cells import one_thread
from .datasets import picture_folder
from .runners import runner_of, tiny_classifier_cfg

FIGURES = Path(__file__).parents[1] / 'recipe.json'
_PRUNED = dict(
    sparsity=0.8, criterion=dict(type='ProsPr', steps=1, lr=1e-3), draws=1
)
_OPTIONS = dict(
    ProsPr=dict(steps=2, lr=1e-3),
    IterSNIP=dict(rounds=3),
    FORCE=dict(rounds=3),
    SynFlow=dict(rounds=3),
    NTKSAP=dict(rounds=2),
)
_CRITERIA = ('Magnitude', 'Random', 'SNIP', 'GraSP', 'SynFlow', 'IterSNIP')
_CRITERIA += ('FORCE', 'ProsPr', 'NTKSAP')
#: The hook of each training, by what it shows.
TRAININGS = {
    **{
        name: dict(
            sparsity=0.8, criterion=dict(type=name, **_OPTIONS.get(name, {}))
        )
        for name in _CRITERIA
    },
    **{
        name: dict(_PRUNED, sd_loss=dict(type=name))
        for name in ('CSKDLoss', 'PSKDLoss', 'DLBLoss', 'KD')
    },
    **{
        hook['policy']['type']: dict(
            hook, sparsity=0.8, policy=dict(hook['policy'], every=2)
        )
        for hook in POLICIES.values()
    },
}
_SAMPLERS = dict(
    CSKDLoss='ClassPairBatchSampler', DLBLoss='OverlapBatchSampler'
)


def figures(name: str, folder: Path) -> dict:
    """Losses by step, and the masks at the end in hexadecimal digits.

    Args:
        name: Of :data:`TRAININGS`.
        folder: For pictures, logs and checkpoints.
    """
    hook = dict(type='EPSDHook', allow_empty_layers=True, **TRAININGS[name])
    if name == 'KD':
        hook['sd_loss']['teacher'] = _teacher(folder)
    cfg = _trained(folder, name, hook)
    lines = Log.of(cfg.work_dir).training
    checkpoint = load_values(find_latest_checkpoint(cfg.work_dir), 'cpu')
    masks = SavedState.unpack(checkpoint['epsd']).masks
    return dict(
        losses=[round(line['loss'], 5) for line in lines],
        masks={
            layer: np.packbits(mask.numpy()).tobytes().hex()
            for layer, mask in masks.items()
        },
    )


def _teacher(folder: Path) -> dict:
    cfg = _trained(folder, 'teacher', None)
    cfg.dump(folder / 'teacher.py')
    checkpoint = find_latest_checkpoint(cfg.work_dir)
    return dict(config=str(folder / 'teacher.py'), checkpoint=checkpoint)


def _trained(folder: Path, name: str, hook: dict | None) -> Config:
    """The config of a training of twelve steps, which has ended."""
    pictures = folder / 'pictures'
    if not pictures.exists():
        picture_folder(pictures)
    cfg = tiny_classifier_cfg(
        pictures, folder / name, hook, 2, _SAMPLERS.get(name)
    )
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    if hook is None:
        cfg.default_hooks.pop('epsd')
    with one_thread():
        runner_of(cfg).train()
    return cfg


def main() -> None:
    """Write the figures of now."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: figures(name, Path(folder)) for name in TRAININGS}
    content = dict(recipe_version=RECIPE_VERSION, trainings=found)
    FIGURES.write_text(json.dumps(content, indent=1) + '\n')


if __name__ == '__main__':
    main()
