"""Results in the form that OpenMMLab and Papers with Code read."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from epsd_mm.files import write_text

from ..comparison import Arm, Comparison
from .published import whole_dataset

_COLLECTION = dict(
    Name='EPSD',
    Metadata={
        'Training Techniques': [
            'Pruning at initialisation',
            'Self-distillation',
        ]
    },
    Paper=dict(
        Title='EPSD: Early Pruning with Self-Distillation for Efficient '
        'Model Compression',
        URL='https://arxiv.org/abs/2402.00084',
    ),
    README='docs/method.md',
)
_CLASSIFICATION, _DETECTION = 'Image Classification', 'Object Detection'
# By metric of a log: task, name, and what makes it a percentage.
_METRICS = {
    'accuracy/top1': (_CLASSIFICATION, 'Top 1 Accuracy', 1),
    'accuracy/top5': (_CLASSIFICATION, 'Top 5 Accuracy', 1),
    'pascal_voc/mAP': (_DETECTION, 'mAP', 100),
    'pascal_voc/AP50': (_DETECTION, 'AP50', 100),
    'coco/bbox_mAP': (_DETECTION, 'box AP', 100),
}


def write_metafile(
    comparison: Comparison,
    path: str | Path,
    root: str | Path,
    index: str | Path | None = None,
) -> None:
    """Write the finished cells of a suite, a model for each method.

    Args:
        comparison: The finished cells.
        path: The file, such as ``configs/benchmarks/micro_metafile.yml``.
        root: Of the project: files are named as seen from there.
        index: A ``model-index.yml`` that shall name the file under its
            ``Import``; made where there is none.

    Raises:
        ValueError: No cell is finished, a config or a file to be named lies
            outside of the project, or the index is no list of imports,
            has no folder or is the file itself. Nothing is written then.
    """
    models = list(_models(comparison, Path(root)))
    if not models:
        raise ValueError(
            f'{comparison.suite.path}: no cell is finished, so that there '
            'are no results to write: run the suite first'
        )
    collection = dict(_COLLECTION)
    if not Path(root, collection['README']).is_file():  # another project
        del collection['README']
    if index is not None:  # before anything is written
        named = _index_with(path, Path(index), Path(root))
    _write(path, dict(Collections=[collection], Models=models))
    if index is not None:
        _write(index, named)


def _index_with(
    metafile: str | Path, index: Path, root: Path
) -> dict[str, Any]:
    """What the index says once it names the metafile."""
    name = _from_root(metafile, root)
    if not index.parent.is_dir():
        raise ValueError(f'{index}: there is no folder {index.parent}')
    if index.resolve() == Path(metafile).resolve():
        raise ValueError(f'{index} cannot be both the metafile and its index')
    content = yaml.safe_load(index.read_text()) if index.is_file() else None
    content = dict(Import=[]) if content is None else content
    if not isinstance(content, dict) or not isinstance(
        content.get('Import'), list
    ):
        raise ValueError(
            f'{index} is no model-index: it must be a mapping whose Import '
            'lists metafiles'
        )
    return {**content, 'Import': sorted({*content['Import'], name})}


def _models(comparison: Comparison, root: Path) -> Iterator[dict[str, Any]]:
    for arm in comparison.arms:
        cells = comparison.cells(arm)
        if not cells:
            continue
        traits, before = comparison.traits(arm), comparison.before(arm)
        about = {
            'Seeds': len(cells),
            'Variant': traits.role,
            'Criterion': traits.criterion,
            'Self-Distillation': traits.sd_loss,
            'Sparsity': arm.sparsity,
            'Epochs': traits.epochs,
            # Its own, and those that it comes after.
            'Trainings': len(before) + 1 if before else None,
        }
        yield {
            'Name': _name(arm),
            'In Collection': _COLLECTION['Name'],
            'Config': _from_root(cells[0].setup.config, root),
            'Metadata': {k: v for k, v in about.items() if v is not None},
            'Results': list(_results(comparison, arm)),
        }


def _results(comparison: Comparison, arm: Arm) -> Iterator[dict[str, Any]]:
    """Means over seeds; a part of a data set goes by its set-up's name."""
    dataset = whole_dataset(comparison, arm) or arm.setup
    tasks: dict[str, dict[str, float]] = {}
    for metric, (task, name, percent) in _METRICS.items():
        found = comparison.summary(arm, f'metric/{metric}')
        if found is not None:
            tasks.setdefault(task, {})[name] = round(found.mean * percent, 2)
    for task, metrics in tasks.items():
        yield dict(Task=task, Dataset=dataset, Metrics=metrics)


def _name(arm: Arm) -> str:
    parts = [arm.setup, arm.method]
    if arm.sparsity is not None:
        parts.append(f'{arm.sparsity:.6g}')
    return re.sub(r'[^\w.]+', '-', '_'.join(parts)).strip('-').lower()


def _from_root(path: str | Path, root: Path) -> str:
    found = os.path.relpath(Path(path).resolve(), root.resolve())
    if found.startswith('..'):
        raise ValueError(
            f'{path} is not inside {root}: a metafile names paths of its '
            'project alone; name the folder of another project by --root'
        )
    return Path(found).as_posix()


def _write(path: str | Path, content: dict) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(path, text)
