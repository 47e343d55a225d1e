"""What a run measured is read back as numbers with units."""

import json

import pytest

from epsd_mm.analysis import ReportError
from epsd_mm.quantities import Quantity
from epsd_mm.results import Log, read_result
from tests.helpers.reports import REPORT

LINES = [
    dict(loss=4.0, time=9.0, epoch=1, iter=20, loss_sd=0.5, memory=100),
    dict(loss=3.0, time=2.0, epoch=1, iter=40, loss_sd=0.25, memory=300),
    {'accuracy/top1': 90.0, 'data_time': 0.1, 'time': 0.2, 'step': 1},
    dict(loss=2.0, time=2.0, epoch=2, iter=60, memory=200),
    dict(loss=1.0, time=3.0, epoch=2, iter=80),
    {
        'accuracy/top1': 50.0,
        'calibration/nll': 1.5,
        'single-label/f1-score_classwise': [1.0, 2.0],
        'time': 0.2,
        'step': 2,
    },
]


def log(folder, lines, name='20260101_000000'):
    path = folder / name / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder


def test_a_training_by_its_last_evaluation_with_its_costs(tmp_path):
    result = read_result(log(tmp_path, LINES))
    assert result == {
        'metric/accuracy/top1': Quantity(50.0, '%', 'higher'),
        'metric/calibration/nll': Quantity(1.5, 'nat', 'lower'),
        'training/iterations': Quantity(80),
        'training/iteration_time': Quantity(2.5, 's', 'lower'),
        'training/epoch_time': Quantity(40 * 2.5, 's', 'lower'),
        'training/last_loss': Quantity(2.5),
        'training/first_loss_sd': Quantity(0.5),
        'training/gpu_memory': Quantity(300, 'MiB', 'lower'),
    }


def test_a_training_that_was_resumed_is_one(tmp_path):
    log(tmp_path, LINES[:3])
    log(tmp_path, LINES[3:], '20260102_000000')
    whole = read_result(log(tmp_path / 'whole', LINES))
    assert read_result(tmp_path) == whole


def test_what_a_resumed_training_repeats_is_measured_once(tmp_path):
    """It was killed behind a checkpoint: iterations 3 to 12 run twice."""

    def lines(first, last):
        return [
            dict(loss=1.0 * i, time=1.0, epoch=1, iter=i)
            for i in range(first, last + 1)
        ]

    log(tmp_path, lines(1, 12))
    log(tmp_path, [*lines(3, 14), LINES[-1]], '20260102_000000')
    whole = log(tmp_path / 'whole', [*lines(1, 14), LINES[-1]])
    assert read_result(tmp_path) == read_result(whole)
    log(tmp_path, [*lines(13, 14), LINES[-1]], '20260103_000000')
    assert read_result(tmp_path) == read_result(whole)


def test_what_is_left_of_an_epoch_after_its_last_line_is_part_of_it(
    tmp_path,
):
    """73 iterations an epoch, every twentieth of which is logged."""
    lines = [
        dict(loss=1.0, time=0.5, epoch=e + 1, iter=73 * e + i)
        for e in range(6)
        for i in (20, 40, 60)
    ]
    assert Log.of(log(tmp_path, lines)).epoch_time == 73 * 0.5


def test_a_training_by_iterations_has_no_epochs(tmp_path):
    lines = [dict(loss=1.0, time=1.0, iter=9), LINES[-1]]
    assert 'training/epoch_time' not in read_result(log(tmp_path, lines))
    assert Log.of(tmp_path).epoch_time is None


def test_what_scoring_has_cost_and_seen(tmp_path):
    (log(tmp_path, LINES) / 'epsd').mkdir()
    path = tmp_path / 'epsd' / 'report.json'
    path.write_text(json.dumps(dict(REPORT, version=1)))
    result = read_result(tmp_path)
    scoring = {k: q for k, q in result.items() if k.startswith('scoring/')}
    assert scoring == {
        'scoring/sparsity': Quantity(0.5),
        'scoring/kept': Quantity(2),
        'scoring/time': Quantity(12.5, 's', 'lower'),
        'scoring/peak_memory': Quantity(2**30, 'B', 'lower'),
        'scoring/evaluations': Quantity(2),
        'scoring/stability': Quantity(0.75),
        'scoring/largest_growth': Quantity(1.5),
        'scoring/size_of_sd': Quantity(0.5),
    }
    steps = [dict(outputs=dict(images=8, passes=24 + k)) for k in (0, 1)]
    path.write_text(json.dumps(dict(REPORT, version=1, steps=steps)))
    result = read_result(tmp_path)
    assert result['scoring/output_images'] == Quantity(16)
    assert result['scoring/output_passes'] == Quantity(49)
    path.write_text('{}')
    with pytest.raises(ReportError, match='report.json is no report'):
        read_result(tmp_path)


def test_a_test_by_its_last_metrics(tmp_path):
    for name, value in (('20260102_000000', 0.5), ('20260101_000000', 0.9)):
        (tmp_path / name).mkdir()
        content = {'pascal_voc/mAP': value, 'sparsity/kept': 7, 'time': 0.1}
        (tmp_path / name / f'{name}.json').write_text(json.dumps(content))
        (tmp_path / name / 'predictions.json').write_text('[]')
    assert read_result(tmp_path) == {
        'metric/pascal_voc/mAP': Quantity(0.5, '1', 'higher'),
        'metric/sparsity/kept': Quantity(7),
    }


@pytest.mark.parametrize('lines', [None, LINES[:2]])
def test_what_was_not_evaluated_is_named(lines, tmp_path):
    if lines:
        log(tmp_path, lines)
    with pytest.raises(FileNotFoundError, match='was evaluated: give the'):
        read_result(tmp_path)


@pytest.mark.parametrize(
    'name, unit, better',
    [
        ('accuracy/top1', '%', 'higher'),
        ('accuracy/top1_thr-0.50', '%', 'higher'),
        ('metric/accuracy/top5', '%', 'higher'),
        ('single-label/precision', '%', 'higher'),
        ('single-label/support', '1', None),
        ('multi-label/mAP', '%', 'higher'),
        ('retrieval/Recall@1', '%', 'higher'),
        ('pascal_voc/mAP', '1', 'higher'),
        ('pascal_voc/AP50_cat', '1', 'higher'),
        ('coco/bbox_mAP', '1', 'higher'),
        ('coco/bbox_mAP_50', '1', 'higher'),
        ('coco/AR@100', '1', 'higher'),
        ('metric/voc07/pascal_voc/mAP', '1', 'higher'),
        ('birds/accuracy/top1', '%', 'higher'),
        ('crowd_human/mMR', '1', 'lower'),
        ('coco_panoptic/PQ', '%', 'higher'),
        ('calibration/nll', 'nat', 'lower'),
        ('calibration/ece', '1', 'lower'),
        ('calibration/aurc', '1', 'lower'),
        ('training/iteration_time', 's', 'lower'),
        ('training/seconds', 's', 'lower'),
        ('scoring/peak_memory', 'B', 'lower'),
        ('sparsity/all', '1', None),
        ('mine/accuracy', '1', None),
        ('accuracy', '1', None),
        ('mine/pascal_voc', '1', None),
    ],
)
def test_units_and_directions_go_by_the_end_of_a_name(name, unit, better):
    assert Quantity.of(name, 0.5) == Quantity(0.5, unit, better)
