"""Which metrics a config reports, before any network has predicted."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import METRICS, DefaultScope

from epsd_mm.config_types import scope_of, setting, type_name
from epsd_mm.datasets.class_names import configured_classes

# They take a sample at its word, write no file, and their options and the
# classes settle what they report.
_OF_IMAGES = ('Accuracy', 'Calibration', 'SingleLabelMetric')
_OF_OBJECTS = ('VOCDetectionMetric', 'VOCMetric')
# CocoMetric writes files, so that it is taken at its documentation's word.
_OF_COCO = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def reported_metrics(cfg: Config) -> dict[str, list[str] | None] | None:
    """Names of the metrics of a validation, by what they begin with.

    Of a class that the data set turns out not to have, VOC's metrics then
    report nothing.

    Args:
        cfg: A config.

    Returns:
        None in place of the names where only their beginning is known, and
        altogether where not even that is.

    Raises:
        ValueError: An evaluator cannot be what its options say.
    """
    evaluators = cfg.get('val_evaluator')
    if cfg.get('val_cfg') is None or evaluators is None:
        return {}
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    found: dict[str, list[str] | None] = {}
    with DefaultScope.overwrite_default_scope(scope_of(cfg)):
        for evaluator in evaluators:
            prefix = _prefix(evaluator)
            if prefix is None:
                return None
            if type_name(evaluator) == 'CocoMetric':
                names = _of_coco(evaluator, prefix)
            else:
                names = _names(evaluator, cfg)
            others = found.get(prefix, [])
            known = names is not None and others is not None
            found[prefix] = others + names if known else None
    return found


def _prefix(evaluator: Mapping) -> str | None:
    with METRICS.switch_scope_and_registry(None) as registry:
        kind = registry.get(type_name(evaluator))
    return evaluator.get('prefix') or getattr(kind, 'default_prefix', None)


def _of_coco(evaluator: Mapping, prefix: str) -> list[str] | None:
    kinds = evaluator.get('metric', 'bbox')
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if evaluator.get('classwise') or not {*kinds} <= {'bbox', 'segm'}:
        return None
    items = evaluator.get('metric_items') or _OF_COCO
    return [f'{prefix}/{kind}_{item}' for kind in kinds for item in items]


def _names(evaluator: Mapping, cfg: Config) -> list[str] | None:
    """What an evaluator says of a sample that is made up."""
    name = type_name(evaluator)
    classes = configured_classes(cfg, 'val_dataloader')
    if name in _OF_IMAGES:
        count = setting(cfg, 'model.head.num_classes')
        sample = _image(count) if isinstance(count, int) else None
    else:
        known = name in _OF_OBJECTS and classes
        sample = _objects(len(classes)) if known else None
    if sample is None:
        return None
    metric = METRICS.build(evaluator)
    metric.dataset_meta = dict(classes=classes)
    with _silence():
        metric.process({}, [sample])
        return list(metric.evaluate(1))


def _image(classes: int) -> dict[str, Any]:
    """An image that shows the first class."""
    label = torch.tensor([0])
    scores = torch.full((classes,), 1 / classes)
    return dict(
        num_classes=classes,
        gt_label=label,
        pred_label=label,
        pred_score=scores,
    )


def _objects(classes: int) -> dict[str, Any]:
    """An image that shows an object of each class, all of them found."""
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(classes, 1)
    truth = dict(bboxes=boxes, labels=torch.arange(classes))
    return dict(
        gt_instances=truth,
        ignored_instances={name: rows[:0] for name, rows in truth.items()},
        pred_instances=dict(truth, scores=torch.ones(classes)),
    )


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody is to read a table of what was made up."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
