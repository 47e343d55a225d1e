"""What a trained network says of test images, beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from epsd_mm.deploy.exporting import build_model
from epsd_mm.deploy.pictures import of_info


@dataclass(frozen=True)
class Box:
    """An object, annotated or detected.

    Attributes:
        corners: Left, top, right and bottom, in pixels.
        label: Index of its class.
        score: Of a detection.
        counts: Whether a metric looks at it.
    """

    corners: tuple[float, float, float, float]
    label: int
    score: float = 1.0
    counts: bool = True


@dataclass(frozen=True)
class Seen:
    """An image, what is on it, and what a network says of it.

    Attributes:
        image: As the file has it.
        name: Of the image.
        truth: Annotated objects, or labels of the whole image.
        found: Detected objects, or scores by class of the whole image.
    """

    image: Image.Image
    name: str
    truth: Sequence[Box] | Sequence[int]
    found: Sequence[Box] | Sequence[float]


@dataclass(frozen=True)
class SeenImages:
    """Of some images of the test set.

    Attributes:
        classes: Names by label.
        detects: Whether objects are found, and not labels of whole images.
        seen: The images.
    """

    classes: Sequence[str]
    detects: bool
    seen: Sequence[Seen]

    @classmethod
    def of(cls, cfg: Config, checkpoint: str, number: int) -> 'SeenImages':
        """Let a network look at test images, evenly over the set.

        Args:
            cfg: Complete.
            checkpoint: Path of its weights.
            number: Of images.

        Raises:
            OSError: The images, or the checkpoint, are not there.
            ValueError: The config has no test set, or does not fit.
        """
        if not cfg.get('test_dataloader'):
            raise ValueError(
                'the config has no test set: give it a test_dataloader'
            )
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
            model, _ = build_model(cfg, checkpoint, keep_zeros=True)
            seen = [
                _look(model, dataset, index)
                for index in spread(len(dataset), number)
            ]
        classes = dataset.metainfo.get('classes') or ()
        return cls(classes, 'instances' in dataset.get_data_info(0), seen)


def spread(total: int, number: int) -> Sequence[int]:
    """Indices of so many of a data set, evenly over it.

    A set may be sorted by class, or have its classes in turns: each index is
    one further in its part than the one before, so that all are met.
    """
    if number >= total:
        return range(total)
    return [i * total // number + i % (total // number) for i in range(number)]


def _look(model: torch.nn.Module, dataset: Any, index: int) -> Seen:
    info = dataset.get_data_info(index)
    with torch.no_grad():
        (answer,) = model.test_step(pseudo_collate([dataset[index]]))
    name = str(info.get('img_path') or index).rsplit('/', 1)[-1]
    if 'instances' in info:
        truth, found = _annotated(info), _detected(answer)
    else:
        labels = np.atleast_1d(info['gt_label'])
        truth = [int(label) for label in labels]
        found = answer.pred_score.tolist()
    return Seen(of_info(info), name, truth, found)


def _annotated(info: Mapping) -> list[Box]:
    return [
        Box(
            corners=tuple(map(float, each['bbox'])),
            label=int(each['bbox_label']),
            counts=not each.get('ignore_flag'),
        )
        for each in info['instances']
    ]


def _detected(answer: Any) -> list[Box]:
    found = answer.pred_instances.cpu()
    rows = zip(
        found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist()
    )
    return [
        Box(tuple(corners), label, score) for corners, label, score in rows
    ]
