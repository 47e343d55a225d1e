"""The names of metrics are known before anything is evaluated."""

import logging

import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.logging import MMLogger

import epsd_mm
from epsd_mm.benchmark.reported_metrics import reported_metrics
from tests.helpers.datasets import CLASSES as SET_CLASSES
from tests.helpers.datasets import detection_set
from tests.helpers.models import register_mmpretrain

CLASSES = ('disc', 'star')
OBJECTS = [f'pascal_voc/AP50_{name}' for name in CLASSES]
EVALUATORS = {
    'one k': (dict(type='Accuracy'), dict(accuracy=['accuracy/top1'])),
    'thresholds': (
        dict(type='Accuracy', topk=2, thrs=(0.1, 0.5), prefix='mine'),
        dict(mine=['mine/top2_thr-0.10', 'mine/top2_thr-0.50']),
    ),
    'two of a prefix': (
        [dict(type='Accuracy', topk=k) for k in (1, 2)],
        dict(accuracy=['accuracy/top1', 'accuracy/top2']),
    ),
    'items': (
        dict(type='SingleLabelMetric', items=('recall',)),
        {'single-label': ['single-label/recall']},
    ),
    'not known': (
        [dict(type='Accuracy'), dict(type='ConfusionMatrix')],
        {'accuracy': ['accuracy/top1'], 'confusion_matrix': None},
    ),
    'no prefix': ([dict(type='Accuracy'), dict(type='DumpResults')], None),
    'none': (None, {}),
}


@pytest.mark.parametrize('name', EVALUATORS)
def test_what_classifiers_are_told_by(name):
    register_mmpretrain(init_default_scope=False)
    evaluators, known = EVALUATORS[name]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=4)),
            val_cfg=dict(),
            val_evaluator=evaluators,
        )
    )
    assert reported_metrics(cfg) == known


def test_more_places_than_classes_are_refused_as_evaluating_would():
    register_mmpretrain(init_default_scope=False)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=4)),
            val_cfg=dict(),
            val_evaluator=dict(type='Accuracy', topk=(1, 5)),
        )
    )
    with pytest.raises(ValueError, match='val_evaluator'):
        reported_metrics(cfg)


@pytest.fixture
def records():
    """What mmengine's logger says."""
    handler, seen = logging.Handler(logging.INFO), []
    handler.emit = seen.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    'evaluator, known',
    [
        (
            dict(type='VOCDetectionMetric', iou_thrs=[0.5]),
            ['pascal_voc/mAP', 'pascal_voc/AP50', *OBJECTS],
        ),
        (dict(type='VOCMetric'), ['pascal_voc/mAP', 'pascal_voc/AP50']),
    ],
)
def test_what_detectors_are_told_by(evaluator, known, records):
    cfg = Config.fromfile(epsd_mm.config_path('benchmarks/bccd_faster_rcnn'))
    cfg.val_dataloader.dataset.metainfo.classes = CLASSES
    cfg.val_evaluator = evaluator
    assert reported_metrics(cfg) == dict(pascal_voc=known)
    assert not records  # nor is a table of what was made up


@pytest.fixture
def coco_cfg():
    return Config.fromfile(epsd_mm.config_path('voc_cocofmt_ssd300_epsd'))


def test_metrics_of_coco_are_those_that_it_reports(coco_cfg, tmp_path):
    detection_set(tmp_path, [[(0, False), (1, False)]])
    metric = CocoMetric(str(tmp_path / 'set.json'))
    metric.dataset_meta = dict(classes=SET_CLASSES)
    boxes = torch.tensor([[1.0, 1, 10, 10]])
    found = dict(bboxes=boxes, labels=torch.tensor([0]))
    found['scores'] = torch.tensor([0.9])
    metric.process(
        {}, [dict(img_id=0, ori_shape=(30, 20), pred_instances=found)]
    )
    told = [n for n in metric.evaluate(1) if not n.endswith('_copypaste')]
    assert reported_metrics(coco_cfg) == dict(coco=told)


@pytest.mark.parametrize(
    'more', [dict(classwise=True), dict(metric='proposal')]
)
def test_of_classes_in_a_file_only_the_beginning_is_known(more, coco_cfg):
    coco_cfg.val_evaluator.update(more)
    assert reported_metrics(coco_cfg) == dict(coco=None)


def test_items_of_coco_may_be_chosen(coco_cfg):
    coco_cfg.val_evaluator.update(
        metric=['bbox', 'segm'], metric_items=['mAP']
    )
    names = ['coco/bbox_mAP', 'coco/segm_mAP']
    assert reported_metrics(coco_cfg) == dict(coco=names)
