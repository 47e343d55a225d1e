"""Average precision agrees with the devkit's definition and with mmdet's."""

from collections import Counter
from importlib.resources import files
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from mmdet.evaluation import eval_map
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dist import collect_results
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import METRICS, DefaultScope
from mmengine.structures import InstanceData

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.evaluation.voc_metric import (
    VOCDetectionMetric,
    average_precision,
    match,
)
from tests.helpers.real_data import extracted, needs
from tests.helpers.voc_ap import (
    TAGS,
    Detection,
    average_precisions,
    read_objects,
)

ANIMALS = ('cat', 'cow', 'dog', 'horse', 'sheep')
MODES = ('11points', 'area')
BASE = files('mmdet') / '.mim/configs/_base_/datasets/voc0712.py'


class TestSet:
    """A test set as mmdet's VOC configs build it, with its XML files."""

    __test__ = False

    def __init__(self, devkit, year, names, **options):
        register_all_modules(init_default_scope=False)
        cfg = Config.fromfile(str(BASE)).test_dataloader.dataset
        cfg.update(
            data_root=f'{devkit}/',
            ann_file=f'VOC{year}/ImageSets/Main/{names}.txt',
            data_prefix=dict(sub_data_root=f'VOC{year}/'),
            # Collects garbage, which takes long.
            serialize_data=False,
            **options,
        )
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.dataset = DATASETS.build(cfg)
        self.classes = self.dataset.metainfo['classes']
        self.samples = [item['data_samples'] for item in self.dataset]
        folder = devkit / f'VOC{year}' / 'Annotations'
        self.truth = {
            sample.img_id: read_objects(folder / f'{sample.img_id}.xml')
            for sample in self.samples
        }

    def evaluate(self, detections, **options):
        """What mmengine's evaluator makes of the metric under test."""
        return self._evaluator(detections, **options).evaluate(
            len(self.samples)
        )

    def mmdet_ap(self, detections, eval_mode):
        """AP of each class by mmdet's metric and the function under it."""
        options = dict(type='mmdet.VOCMetric', eval_mode=eval_mode)
        evaluator = self._evaluator(detections, **options)
        truth, found = zip(*evaluator.metrics[0].results)
        _, by_class = eval_map(
            found,
            truth,
            logger='silent',
            eval_mode=eval_mode,
            use_legacy_coordinate=True,
        )
        reported = evaluator.evaluate(len(self.samples))
        return reported['pascal_voc/mAP'], {
            name: result['ap']
            for name, result in zip(self.classes, by_class)
            if result['num_gts']
        }

    def _evaluator(self, detections, **options):
        metric = METRICS.build(
            dict(dict(type='VOCDetectionMetric'), **options)
        )
        evaluator = Evaluator([metric])
        evaluator.dataset_meta = self.dataset.metainfo
        for sample in self.samples:
            chosen = [d for d in detections if d.image == sample.img_id]
            # VOC counts pixels from 1, mmdet from 0.
            boxes = np.array([d.box for d in chosen]).reshape(-1, 4) - 1
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes).float(),
                scores=torch.tensor([d.score for d in chosen]).float(),
                labels=torch.tensor(
                    [self.classes.index(d.name) for d in chosen],
                    dtype=torch.long,
                ),
            )
        evaluator.process(data_samples=self.samples)
        return evaluator


def perfect(truth):
    return [
        Detection(image, o.name, 0.9, o.box)
        for image, objects in truth.items()
        for o in objects
        if not o.difficult
    ]


def perturbed(truth, classes, seed):
    """Moved, scaled, lost, doubled, misnamed, invented, in any order."""
    rng = np.random.default_rng(seed)
    found = []

    def add(image, name, box):
        # Quarters of a pixel survive float32; no two scores are equal.
        box = np.round(4 * box) / 4
        found.append([image, name, box])

    for image, objects in truth.items():
        for o in objects:
            size = np.tile(o.box[2:] - o.box[:2], 2)
            if rng.random() < 0.2:
                continue
            for _ in range(rng.integers(1, 4)):
                shift = np.tile(rng.normal(0, 0.12, 2), 2) * size
                scale = rng.normal(0, 0.1, 4) * size
                wrong = rng.random() < 0.15
                name = rng.choice(classes) if wrong else o.name
                add(image, name, o.box + shift + scale)
        for _ in range(rng.integers(0, 3)):
            corner = rng.uniform(1, 80, 2)
            size = rng.uniform(5, 60, 2)
            box = np.concatenate([corner, corner + size])
            add(image, rng.choice(classes), box)
    scores = rng.permutation(len(found)) / len(found)
    return [Detection(*f[:2], s, f[2]) for f, s in zip(found, scores)]


def crowd(path, seed, classes):
    """Replace the objects of an annotation by clusters that overlap."""
    rng = np.random.default_rng(seed)
    root = ET.parse(path).getroot()
    for element in root.findall('object'):
        root.remove(element)
    for _ in range(rng.integers(0, 4)):
        place = rng.integers(5, 70, 2)
        name = rng.choice(classes)
        for _ in range(rng.integers(1, 4)):
            corner = np.maximum(place + rng.integers(-6, 7, 2), 1)
            end = corner + rng.integers(1, 50, 2)
            element = ET.SubElement(root, 'object')
            ET.SubElement(element, 'name').text = str(name)
            difficult = ET.SubElement(element, 'difficult')
            difficult.text = str(int(rng.random() < 0.3))
            box = ET.SubElement(element, 'bndbox')
            for tag, value in zip(TAGS, (*corner, *end)):
                ET.SubElement(box, tag).text = str(value)
    path.write_bytes(ET.tostring(root))


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Crowded annotations of five of VOC's classes."""
    folder = tmp_path_factory.mktemp('drawn')
    devkit = generate_voc(folder, train=1, test=24, classes=ANIMALS)
    for i, path in enumerate(sorted((devkit / 'VOC2007').glob('A*/*.xml'))):
        crowd(path, i, ANIMALS)
    return TestSet(devkit, 2007, 'test')


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp('real')
    return extracted('voc.tar', folder) / 'VOCdevkit'


@pytest.fixture(scope='module')
def voc2007(real):
    return TestSet(real, 2007, 'test')


@pytest.fixture(scope='module')
def voc2012(real):
    return TestSet(real, 2012, 'original_xml')


@pytest.fixture(
    params=[
        'drawn',
        pytest.param('voc2007', marks=needs('voc.tar')),
        pytest.param('voc2012', marks=needs('voc.tar')),
    ]
)
def test_set(request):
    return request.getfixturevalue(request.param)


def by_class(metrics):
    start = 'pascal_voc/AP50_'
    return {
        key.removeprefix(start): value
        for key, value in metrics.items()
        if key.startswith(start)
    }


@pytest.mark.parametrize('eval_mode', MODES)
def test_perfect_detections_have_ap_one(test_set, eval_mode):
    found = by_class(
        test_set.evaluate(perfect(test_set.truth), eval_mode=eval_mode)
    )
    populated = {d.name for d in perfect(test_set.truth)}
    assert len(populated) >= 5
    assert found == pytest.approx({name: 1.0 for name in populated})


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('eval_mode', MODES)
def test_each_class_agrees_with_the_devkit(test_set, eval_mode, seed):
    detections = perturbed(test_set.truth, test_set.classes, seed)
    expected = average_precisions(test_set.truth, detections, eval_mode)
    metrics = test_set.evaluate(detections, eval_mode=eval_mode)
    assert by_class(metrics) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < np.mean(list(expected.values())) < 0.9
    mean = pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert metrics['pascal_voc/AP50'] == mean
    assert metrics['pascal_voc/mAP'] == mean


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('eval_mode', MODES)
def test_each_class_agrees_with_mmdet(test_set, eval_mode, seed):
    """But for 11 points where 3 of 5 objects miss mmdet's recall of 0.6."""
    detections = perturbed(test_set.truth, test_set.classes, seed)
    mean, theirs = test_set.mmdet_ap(detections, eval_mode)
    metrics = test_set.evaluate(detections, eval_mode=eval_mode)
    ours = by_class(metrics)
    assert set(ours) == set(theirs)
    objects = Counter(d.name for d in perfect(test_set.truth))
    rounded = set()
    if eval_mode == '11points':
        rounded = {name for name in ours if objects[name] % 5 == 0}
        assert all(ours[name] >= theirs[name] - 1e-6 for name in rounded)
    for name in set(ours) - rounded:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6)
    if not rounded:
        assert metrics['pascal_voc/mAP'] == pytest.approx(mean, abs=1e-6)


def one(name, *box, image='000002', score=0.5):
    return Detection(image, name, score, np.array(box, float))


class TestCorners:
    """Single cases that random ones meet rarely, each against the devkit."""

    @pytest.fixture
    def of(self, tmp_path):
        """Build a test set of two images from lists of objects."""

        def build(first=(), second=(), **options):
            devkit = generate_voc(tmp_path, train=1, test=2, classes=ANIMALS)
            folder = devkit / 'VOC2007' / 'Annotations'
            for image, objects in zip(('000002', '000003'), (first, second)):
                path = folder / f'{image}.xml'
                root = ET.parse(path).getroot()
                for element in root.findall('object'):
                    root.remove(element)
                for name, difficult, *box in objects:
                    element = ET.SubElement(root, 'object')
                    ET.SubElement(element, 'name').text = name
                    flag = ET.SubElement(element, 'difficult')
                    flag.text = str(difficult)
                    bounds = ET.SubElement(element, 'bndbox')
                    for tag, value in zip(TAGS, box):
                        ET.SubElement(bounds, tag).text = str(value)
                path.write_bytes(ET.tostring(root))
            return TestSet(devkit, 2007, 'test', **options)

        return build

    def agree(self, test_set, *detections):
        """AP of each class, the devkit's being the same in both modes."""
        for eval_mode in MODES:
            expected = average_precisions(
                test_set.truth, detections, eval_mode
            )
            metrics = test_set.evaluate(detections, eval_mode=eval_mode)
            assert by_class(metrics) == pytest.approx(expected, abs=1e-12)
        return by_class(metrics)

    def test_detections_of_difficult_objects_cost_nothing(self, of):
        small = of(
            [('cat', 1, 50, 50, 90, 90), ('cat', 0, 1, 1, 30, 30)],
        )
        assert self.agree(
            small,
            one('cat', 50, 50, 90, 90, score=0.9),
            one('cat', 51, 50, 90, 90, score=0.8),
            one('cat', 1, 1, 30, 30, score=0.7),
        ) == {'cat': 1.0}

    def test_a_class_of_difficult_objects_alone_has_no_ap(self, of):
        small = of([('cat', 1, 50, 50, 90, 90), ('dog', 0, 1, 1, 30, 30)])
        found = self.agree(
            small,
            one('cat', 1, 1, 30, 30, score=0.9),
            one('dog', 1, 1, 30, 30),
        )
        assert found == {'dog': 1.0}

    def test_a_second_detection_of_an_object_is_wrong(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)], [('cat', 0, 1, 1, 40, 40)])
        assert self.agree(
            small,
            one('cat', 1, 1, 40, 40, score=0.9),
            one('cat', 1, 1, 40, 41, score=0.8),
            one('cat', 1, 1, 40, 40, image='000003', score=0.7),
        ) == {'cat': pytest.approx(0.5 + 0.5 * 2 / 3)}

    def test_it_does_not_look_for_another_object(self, of):
        small = of([('cat', 0, 1, 1, 40, 40), ('cat', 0, 1, 5, 40, 44)])
        found = self.agree(
            small,
            one('cat', 1, 1, 40, 40, score=0.9),
            one('cat', 1, 2, 40, 41, score=0.8),
        )
        assert found == {'cat': pytest.approx(0.5)}

    @pytest.mark.parametrize('order', [1, -1])
    def test_the_most_overlapped_object_decides(self, of, order):
        """Whichever comes first in the file, difficult or not."""
        pair = [('cat', 1, 10, 10, 49, 49), ('cat', 0, 10, 14, 49, 53)]
        small = of(pair[::order])
        nearer_difficult = one('cat', 10, 11, 49, 50)
        assert self.agree(small, nearer_difficult) == {'cat': 0.0}
        nearer_normal = one('cat', 10, 13, 49, 52)
        assert self.agree(small, nearer_normal) == {'cat': 1.0}

    def test_pixels_of_both_ends_count(self, of):
        """10 of 20 pixels are a half; 9 of 19 by width alone are not."""
        small = of([('cat', 0, 11, 11, 30, 11)])
        assert self.agree(small, one('cat', 11, 11, 20, 11)) == {'cat': 1.0}
        assert self.agree(small, one('cat', 11, 11, 19, 11)) == {'cat': 0.0}

    def test_boxes_side_by_side_do_not_overlap(self, of):
        small = of([('cat', 0, 11, 11, 30, 30)])
        assert self.agree(small, one('cat', 31, 11, 50, 30)) == {'cat': 0.0}

    def test_equal_scores_stay_in_the_order_of_the_images(self, of):
        small = of([], [('cat', 0, 1, 1, 40, 40)])
        found = self.agree(
            small,
            *[one('cat', 60, 60, 90 + i, 90) for i in range(30)],
            one('cat', 1, 1, 40, 40, image='000003'),
        )
        assert found == {'cat': pytest.approx(1 / 31)}

    def test_absent_classes_do_not_enter_the_mean(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)])
        metrics = small.evaluate(
            [one('cat', 1, 1, 40, 40), one('dog', 1, 1, 40, 40)]
        )
        assert metrics == {
            'pascal_voc/mAP': 1.0,
            'pascal_voc/AP50': 1.0,
            'pascal_voc/AP50_cat': 1.0,
        }

    def test_no_detection_at_all(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)])
        assert self.agree(small) == {'cat': 0.0}

    def test_several_thresholds(self, of):
        small = of([('cat', 0, 1, 1, 10, 10)])
        metrics = small.evaluate(
            [one('cat', 1, 1, 10, 7)], iou_thrs=[0.5, 0.7, 0.75]
        )
        assert metrics['pascal_voc/AP50_cat'] == 1.0
        assert metrics['pascal_voc/AP70_cat'] == 1.0
        assert metrics['pascal_voc/AP75_cat'] == 0.0
        assert metrics['pascal_voc/mAP'] == pytest.approx(2 / 3)

    def test_one_s_own_classes_in_a_folder_of_voc(self, of, caplog):
        """mmdet's table gives them the names of VOC's first classes."""
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        small = of(
            [('dog', 0, 1, 1, 40, 40)], metainfo=dict(classes=('dog', 'cat'))
        )
        metrics = small.evaluate([one('dog', 1, 1, 40, 40)])
        logger.removeHandler(caplog.handler)
        assert metrics['pascal_voc/AP50_dog'] == 1.0
        assert 'dog' in caplog.text and 'aeroplane' not in caplog.text

    def test_a_set_without_objects_is_refused(self, of):
        small = of([('cat', 1, 1, 1, 40, 40)])
        with pytest.raises(ValueError, match=r'metainfo=dict\(classes=…\)'):
            small.evaluate([])

    def test_a_prediction_that_is_not_finite_is_refused(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)])
        with pytest.raises(ValueError, match='000002.jpg.*nan.*divergence'):
            small.evaluate([one('cat', 1, 1, np.nan, 40)])

    def test_a_label_beyond_the_classes_is_refused(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)])
        small.dataset._metainfo['classes'] = ('cat', 'dog')
        small.classes = ('cat', 'dog', 'cow')
        with pytest.raises(
            ValueError, match='label 2 .* classes of the test set, 2'
        ):
            small.evaluate([one('cow', 1, 1, 4, 4)])

    def test_a_pipeline_without_annotations_is_refused(self, of):
        small = of([('cat', 0, 1, 1, 40, 40)])
        del small.samples[0].gt_instances
        with pytest.raises(ValueError, match='gt_instances.*LoadAnnotations'):
            small.evaluate([])


def test_a_detection_of_a_difficult_object_is_neither_right_nor_counted():
    boxes = np.array([[0, 0, 9, 9], [50, 50, 59, 59], [80, 80, 89, 89.0]])
    right, counts = match(boxes, boxes[:2], np.array([True, False]))
    assert right.tolist() == [False, True, False]
    assert counts.tolist() == [False, True, True]


@pytest.mark.parametrize('part, whole', [(3, 5), (3, 10), (6, 10), (7, 10)])
def test_recalls_are_compared_as_fractions(part, whole):
    """3 / 5 < 6 * 0.1 in binary."""
    hits = part * [1] + 99 * [0] + [1]
    levels = 10 * part // whole + 1
    later = 10 * (part + 1) // whole + 1 - levels
    after = (part + 1) / len(hits)
    assert average_precision(hits, whole) == pytest.approx(
        (levels + later * after) / 11, abs=1e-12
    )


@pytest.mark.parametrize('options', [dict(iou_thrs=50), dict(iou_thrs=[])])
def test_impossible_thresholds_are_refused(options):
    with pytest.raises(ValueError, match='iou_thrs'):
        METRICS.build(dict(type='VOCDetectionMetric', **options))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match='101points.*11points, area'):
        METRICS.build(dict(type='VOCDetectionMetric', eval_mode='101points'))


@pytest.mark.parametrize(
    'thresholds, keys',
    [([0.5, 0.504], 'AP50, AP50'), ([0.5, 0.75, 0.5], 'AP50, AP75, AP50')],
)
def test_thresholds_that_share_a_name_are_refused(thresholds, keys):
    """One would be reported in place of the other."""
    with pytest.raises(ValueError) as error:
        METRICS.build(dict(type='VOCDetectionMetric', iou_thrs=thresholds))
    assert str(thresholds) in str(error.value) and keys in str(error.value)


@pytest.fixture
def small_metric():
    """What a process keeps of some images, each with one cat of score 0.5."""
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, 9.0, 9.0]]),
        labels=torch.zeros(1, dtype=torch.long),
    )

    def build(images, missed=(1, 2)):
        metric = VOCDetectionMetric(eval_mode='area')
        metric.dataset_meta = dict(classes=('cat',))
        for image in images:
            found = truth.clone()
            found.scores = torch.tensor([0.5])
            found.bboxes = truth.bboxes + 50 * (image in missed)
            sample = dict(
                pred_instances=found,
                gt_instances=truth,
                ignored_instances=truth[:0],
            )
            metric.process(None, [sample])
        return metric

    return build


def test_two_processes_measure_what_one_does(
    small_metric, monkeypatch, tmp_path
):
    """Equal scores stay in the order of the images; padding counts once.

    mmengine collects what both have written, the first process last. Right,
    wrong, wrong, right, right of five objects: (1 + 2 * 3 / 5) / 5. Images
    in the order of the processes, or image 0 twice, give another value.
    """
    monkeypatch.setattr('mmengine.dist.dist.barrier', lambda: None)
    for rank, images in ((1, (1, 3, 0)), (0, (0, 2, 4))):
        metric = small_metric(images)
        monkeypatch.setattr(
            'mmengine.dist.dist.get_dist_info', lambda rank=rank: (rank, 2)
        )
        collected = collect_results(metric.results, 5, 'cpu', str(tmp_path))
    result = metric.compute_metrics(collected)
    assert result['AP50_cat'] == pytest.approx(2.2 / 5)
    whole = small_metric(range(5))
    assert result == whole.compute_metrics(whole.results)
    for wrong in ((0, 2, 4, 1, 3), (0, 1, 2, 3, 4, 0)):
        other = small_metric(wrong)
        assert other.compute_metrics(other.results) != result
