"""Average precision of detections as Pascal VOC defines it.

Boxes are (left, top, right, bottom) of pixels, both ends inside, so that a
box of one pixel has the area 1. Everything is calculated in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from epsd_mm.tables import text_table

EVAL_MODES = ('11points', 'area')


def average_precision(
    hits: Any, objects: int, eval_mode: str = '11points'
) -> float:
    """Average precision of one class.

    Precision at a recall is the best one at that recall or a higher one.
    ``11points`` is its mean at the recalls 0, 0.1, …, 1 (VOC2007), ``area``
    the area under it (VOC2010 and later). Recalls are compared as whole
    numbers: 3 of 10 objects reach the recall 0.3, which in binary fractions
    3 / 10 and 3 * 0.1 do not agree upon. Everingham et al., *The PASCAL Visual
    Object Classes Challenge*, IJCV 2010, section 4.2.

    Args:
        hits: Whether each detection found an object, in falling order of the
            scores, shape (N,); detections that do not count are left out.
        objects: Number of objects to be found, not zero.
        eval_mode: ``11points`` or ``area``.

    Returns:
        The average precision, in [0, 1].
    """
    hits = np.asarray(hits, dtype=bool)
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if eval_mode == 'area':
        return float(best[hits].sum() / objects)
    first = np.searchsorted(10 * found, objects * np.arange(11))
    return float(np.append(best, 0.0)[first].mean())


def match(
    boxes: np.ndarray,
    truth: np.ndarray,
    difficult: np.ndarray,
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of a class in an image are right, and which count.

    A detection belongs to the object that it overlaps most, if their
    intersection over union reaches the threshold. The first one of an object
    is right, further ones are wrong. One that belongs to a difficult object
    does not count.

    Args:
        boxes: Detections in falling order of their scores, shape (N, 4).
        truth: Objects, shape (M, 4).
        difficult: Which objects are difficult, shape (M,).
        threshold: Least intersection over union.

    Returns:
        Two bool arrays of shape (N,): right; counts.
    """
    right = np.zeros(len(boxes), dtype=bool)
    if not len(boxes) or not len(truth):
        return right, ~right
    overlaps = _overlaps(boxes, truth)
    owner = overlaps.argmax(axis=1)
    close = overlaps.max(axis=1) >= threshold
    counts = ~(close & difficult[owner])
    candidates = np.flatnonzero(close & counts)
    _, first = np.unique(owner[candidates], return_index=True)
    right[candidates[first]] = True
    return right, counts


def _overlaps(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union, shape (N, M)."""
    corner = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    common = np.clip(end - corner + 1, 0, None).prod(axis=2)
    union = _areas(boxes)[:, None] + _areas(truth)[None] - common
    # A box without area overlaps nothing.
    return np.divide(common, union, out=common, where=common > 0)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)


@METRICS.register_module()
class VOCDetectionMetric(BaseMetric):
    """Average precision of each class, and their mean.

    Gives ``pascal_voc/AP50_<class>`` for each class that has objects, their
    mean ``pascal_voc/AP50``, the same for further thresholds, and
    ``pascal_voc/mAP``, the mean over the thresholds, all as fractions and not
    rounded; logs a table. Difficult objects (``ignored_instances``) are
    neither missed nor found. A class without other objects has no AP and does
    not enter the mean.

    Detections of equal score stay in the order of the images and of the
    model. One that overlaps a difficult and another object exactly alike
    belongs to the latter.

    Args:
        iou_thrs: One or several thresholds of the intersection over union.
        eval_mode: ``11points``, as published for VOC2007, or ``area``, as
            for VOC2010 to 2012.
        kwargs: Options of mmengine's ``BaseMetric``: collect_device, prefix,
            collect_dir.

    Raises:
        ValueError: An option is wrong; in use: a sample lacks annotations or
            predictions, a prediction is not finite or its label unknown, or
            there is no object to be found.
    """

    default_prefix = 'pascal_voc'

    def __init__(
        self,
        iou_thrs: float | Sequence[float] = 0.5,
        eval_mode: str = '11points',
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.iou_thrs = np.atleast_1d(np.asarray(iou_thrs, float)).tolist()
        if not self.iou_thrs or not all(0 < t <= 1 for t in self.iou_thrs):
            raise ValueError(
                f'iou_thrs={iou_thrs!r} must be in (0, 1], VOC takes 0.5'
            )
        keys = [_key(threshold) for threshold in self.iou_thrs]
        if len(set(keys)) < len(keys):
            raise ValueError(
                f'iou_thrs={iou_thrs!r} are reported as {", ".join(keys)}: '
                'let them differ when rounded to hundredths'
            )
        if eval_mode not in EVAL_MODES:
            raise ValueError(
                f'eval_mode={eval_mode!r} must be one of '
                f'{", ".join(EVAL_MODES)}'
            )
        self.eval_mode = eval_mode

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep boxes, labels and scores of each image."""
        for sample in data_samples:
            self.results.append(self._read(sample))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics over the images of all ranks."""
        metrics = {}
        means = []
        for threshold in self.iou_thrs:
            key = _key(threshold)
            values = self._values(results, threshold)
            metrics[key] = float(np.mean(list(values.values())))
            metrics |= {f'{key}_{name}': ap for name, ap in values.items()}
            means.append(metrics[key])
        return dict(mAP=float(np.mean(means)), **metrics)

    def _read(self, sample: dict) -> 'DetectedImage':
        image = DetectedImage.of(sample)
        self._check(image, sample)
        return image

    def _check(self, image: 'DetectedImage', sample: dict) -> None:
        where = f'prediction of {sample.get("img_path", "an image")}'
        finite = np.isfinite(image.boxes).all(axis=1)
        finite &= np.isfinite(image.scores)
        if not finite.all():
            row = int(finite.argmin())
            raise ValueError(
                f'{where}: box {image.boxes[row].tolist()} of score '
                f'{image.scores[row]} is not finite: look for divergence in '
                'training'
            )
        classes = len(self.dataset_meta['classes'])
        unknown = image.labels[(image.labels < 0) | (image.labels >= classes)]
        if len(unknown):
            raise ValueError(
                f'{where}: label {unknown[0]} is not below the number of '
                f'classes of the test set, {classes}: set num_classes of the '
                'head to that number'
            )

    def _values(
        self, images: Sequence['DetectedImage'], threshold: float
    ) -> dict[str, float]:
        """AP of each class that has objects."""
        names = self.dataset_meta['classes']
        tallies = {name: Tally() for name in names}
        for image in images:
            for label in image.all_classes:
                image.add_to(tallies[names[label]], label, threshold)
        values = {
            name: average_precision(
                tally.hits(), tally.objects, self.eval_mode
            )
            for name, tally in tallies.items()
            if tally.objects
        }
        if not values:
            raise ValueError(
                f'none of the {len(images)} images of the test set shows an '
                f'object of {", ".join(names)} that is not difficult: set '
                'metainfo=dict(classes=…) of the data set to names that its '
                'annotations use'
            )
        title = f'AP at IoU {threshold:g}, {self.eval_mode}'
        logger = MMLogger.get_current_instance()
        logger.info('\n' + _table(title, tallies, values))
        return values


@dataclass
class DetectedImage:
    """Detections and objects of an image."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray

    @classmethod
    def of(cls, sample: Mapping) -> 'DetectedImage':
        """What a sample of mmdet holds.

        Raises:
            ValueError: It lacks annotations or predictions.
        """
        try:
            found, truth, ignored = (
                sample[key]
                for key in (
                    'pred_instances',
                    'gt_instances',
                    'ignored_instances',
                )
            )
        except KeyError as error:
            raise ValueError(
                f'a sample has {", ".join(sample)}, but no {error}: the test '
                'pipeline needs LoadAnnotations, after Resize, and '
                'PackDetInputs'
            ) from error
        return cls(
            boxes=_array(found['bboxes'], float),
            scores=_array(found['scores'], float),
            labels=_array(found['labels'], int),
            truth=np.concatenate(
                [_array(t['bboxes'], float) for t in (truth, ignored)]
            ),
            classes=np.concatenate(
                [_array(t['labels'], int) for t in (truth, ignored)]
            ),
            difficult=np.repeat(
                [False, True], [len(truth['labels']), len(ignored['labels'])]
            ),
        )

    @property
    def all_classes(self) -> np.ndarray:
        """Labels that were found, or are there to be found."""
        return np.unique(np.append(self.labels, self.classes))

    def add_to(self, tally: 'Tally', label: int, threshold: float) -> None:
        """Let a tally know of one class in this image."""
        chosen = np.flatnonzero(self.labels == label)
        order = np.argsort(-self.scores[chosen], kind='stable')
        chosen = chosen[order]
        of_class = self.classes == label
        difficult = self.difficult[of_class]
        right, counts = match(
            self.boxes[chosen], self.truth[of_class], difficult, threshold
        )
        tally.objects += int((~difficult).sum())
        tally.difficult += int(difficult.sum())
        tally.scores.append(self.scores[chosen][counts])
        tally.right.append(right[counts])


@dataclass
class Tally:
    """What was found; detections that do not count are left out."""

    objects: int = 0
    difficult: int = 0
    scores: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)

    def hits(self) -> np.ndarray:
        """Whether each detection is right, in falling order of scores."""
        if not self.scores:
            return np.zeros(0, dtype=bool)
        order = np.argsort(-np.concatenate(self.scores), kind='stable')
        return np.concatenate(self.right)[order]


def _key(threshold: float) -> str:
    return f'AP{round(100 * threshold):02d}'


def _array(values: Any, dtype: type) -> np.ndarray:
    # mmdet's box types hold a tensor; numpy knows no bfloat16.
    values = getattr(values, 'tensor', values)
    return values.cpu().double().numpy().astype(dtype)


def _table(
    title: str, tallies: dict[str, Tally], values: dict[str, float]
) -> str:
    rows = []
    for name, tally in tallies.items():
        hits = tally.hits()
        cells = [tally.objects, tally.difficult, len(hits)]
        rates = ['', '']
        if tally.objects:
            rates = [f'{hits.sum() / tally.objects:.3f}']
            rates.append(f'{values[name]:.4f}')
        rows.append([name, *map(str, cells), *rates])
    mean = np.mean(list(values.values()))
    return text_table(
        title,
        ['class', 'objects', 'difficult', 'detections', 'recall', 'AP'],
        rows,
        total=['mean', '', '', '', '', f'{mean:.4f}'],
    )
