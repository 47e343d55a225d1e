"""Calibration against values by hand and against loops."""

import itertools
import math
import socket

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmpretrain.structures import DataSample
from torch import multiprocessing

from epsd_mm.evaluation.calibration import (
    Calibration,
    aurc,
    expected_calibration_error,
    negative_log_likelihood,
)

# Many ties and edges of bins among them.
fractions = st.one_of(
    st.floats(0, 1), st.sampled_from([0.0, 1 / 15, 0.2, 0.5, 2 / 3, 1.0])
)
samples = st.lists(st.tuples(fractions, st.booleans()), min_size=1)


def columns(pairs):
    return [list(column) for column in zip(*pairs)]


def ece_in_loops(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [
            (c, r)
            for c, r in zip(confidence, correct)
            if low < c <= high or (b == 0 and c == 0)
        ]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            mean = sum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def aurc_in_order(correct):
    """The area for samples in a given order of confidence."""
    risks = [
        sum(not r for r in correct[:k]) / k for k in range(1, len(correct) + 1)
    ]
    return sum(risks) / len(risks)


def test_likelihood_by_hand():
    value = negative_log_likelihood([1.0, 0.5, 0.25])
    assert value == pytest.approx((0 + math.log(2) + math.log(4)) / 3)


def test_the_likelihood_of_zero_is_that_of_the_smallest_float32():
    smallest = torch.finfo(torch.float32).smallest_normal * 2**-23
    assert np.float32(smallest) > 0 and np.float32(smallest / 2) == 0
    value = negative_log_likelihood([0.0])
    assert value == pytest.approx(-math.log(smallest))
    assert round(value, 2) == 103.28
    assert negative_log_likelihood([1e-40]) == pytest.approx(-math.log(1e-40))


def test_calibration_error_by_hand():
    # Of two bins: (0, 0.5] has 0.3, 0.5 and accuracy 1/2; (0.5, 1] has 0.9,
    # 0.7 and accuracy 1: 2/4 * |0.5 - 0.4| + 2/4 * |1 - 0.8|.
    value = expected_calibration_error(
        [0.3, 0.5, 0.9, 0.7], [True, False, True, True], bins=2
    )
    assert value == pytest.approx(0.15)


def test_an_edge_belongs_to_the_bin_below_it():
    # 0.6 closes (0.4, 0.6], so that it does not even out with 0.7.
    confidence, correct = [0.6, 0.7], [True, False]
    value = expected_calibration_error(confidence, correct, bins=5)
    assert value == pytest.approx((0.4 + 0.7) / 2)
    # In (0.5, 1] both lie together.
    value = expected_calibration_error(confidence, correct, bins=2)
    assert value == pytest.approx(abs(1 - 0.6 - 0.7) / 2)


def test_every_edge_of_fifteen_bins_is_the_upper_end_of_one():
    edges = [k / 15 for k in range(1, 16)]
    # Right with just above the edge and wrong on it never share a bin.
    for edge in edges[:-1]:
        above = math.nextafter(edge, 2)
        value = expected_calibration_error([edge, above], [False, True])
        assert value == pytest.approx((edge + 1 - above) / 2)


def test_a_calibrated_model_has_no_error_and_a_sure_wrong_one_all():
    assert expected_calibration_error([0.75] * 4, [1, 1, 0, 1]) == 0
    assert expected_calibration_error([1.0] * 3, [0, 0, 0]) == 1


@settings(deadline=None)
@given(samples, st.integers(1, 20))
def test_calibration_error_is_that_of_a_loop_over_bins(pairs, bins):
    confidence, correct = columns(pairs)
    value = expected_calibration_error(confidence, correct, bins)
    assert value == pytest.approx(ece_in_loops(confidence, correct, bins))
    assert 0 <= value <= 1


def test_area_by_hand():
    # Risks at coverage 1/3, 2/3, 1: 0, 1/2, 1/3.
    value = aurc([0.9, 0.2, 0.5], [True, True, False])
    assert value == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_a_foreseen_error_costs_less():
    correct = [True, True, True, False]
    last, first = [0.9, 0.8, 0.7, 0.1], [0.6, 0.7, 0.8, 0.9]
    assert aurc(last, correct) == pytest.approx(1 / 16)
    assert aurc(first, correct) == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )


def test_equal_confidence_everywhere_gives_the_error_rate():
    assert aurc([0.5] * 5, [1, 0, 1, 1, 0]) == pytest.approx(2 / 5)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.4, 0.7]), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_area_of_ties_is_the_mean_over_all_their_orders(pairs):
    areas = []
    for order in itertools.permutations(pairs):
        ranked = sorted(order, key=lambda pair: -pair[0])
        areas.append(aurc_in_order([r for _, r in ranked]))
    value = aurc(*columns(pairs))
    assert value == pytest.approx(sum(areas) / len(areas))


@settings(deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_no_measure_depends_on_the_order_of_samples(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for measure in (aurc, expected_calibration_error):
        one, two = (measure(*columns(p)) for p in (pairs, shuffled))
        assert one == pytest.approx(two, abs=1e-12)


def test_tensors_arrays_and_lists_give_the_same():
    confidence = torch.tensor([0.5, 0.25, 0.75], dtype=torch.bfloat16)
    correct = torch.tensor([True, False, True])
    for measure in (aurc, expected_calibration_error):
        value = measure(confidence, correct)
        assert isinstance(value, float)
        assert value == measure(confidence.tolist(), correct.tolist())
        assert value == measure(confidence.float().numpy(), correct.numpy())


@pytest.mark.parametrize(
    'confidence, correct, words',
    [
        ([], [], r'shape \(0,\)'),
        ([0.5, 0.5], [True], '2 confidences, but 1 .* for each sample'),
        ([0.5, 1.5], [True, True], r'confidence\[1\]=1.5 .* softmax'),
        ([0.5, math.nan], [True, True], r'confidence\[1\]=nan'),
        ([[0.5]], [[True]], r'shape \(1, 1\)'),
        ([0.5, 0.5], [1, 0.25], r'correct\[1\]=0.25 is neither true'),
        ([0.5], [3], r'correct\[0\]=3'),
    ],
)
def test_bad_values_are_refused(confidence, correct, words):
    for measure in (aurc, expected_calibration_error):
        with pytest.raises(ValueError, match=words):
            measure(confidence, correct)


@pytest.mark.parametrize('bins', [0, -1, 1.5, True])
def test_bad_numbers_of_bins_are_refused(bins):
    with pytest.raises(ValueError, match=f'bins={bins}'):
        Calibration(bins=bins)
    with pytest.raises(ValueError, match=f'bins={bins}'):
        expected_calibration_error([0.5], [True], bins)


def predictions(n, classes=5):
    generator = torch.Generator().manual_seed(n)
    logits = 3 * torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    return logits.softmax(1), labels


def data_samples(scores, labels):
    return [
        DataSample().set_pred_score(score).set_gt_label(int(label))
        for score, label in zip(scores, labels)
    ]


def measured(scores, labels, batch=4, **options):
    evaluator = Evaluator(dict(type='Calibration', **options))
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        evaluator.process(data_samples(scores[part], labels[part]))
    return evaluator.evaluate(len(labels))


def expected(scores, labels, bins=15):
    scores = scores.double()
    scores = scores / scores.sum(1, keepdim=True)
    confidence = scores.max(1).values.tolist()
    correct = (scores.argmax(1) == labels).tolist()
    ranked = sorted(zip(confidence, correct), reverse=True)
    log = sum(math.log(s[label]) for s, label in zip(scores, labels))
    return {
        'calibration/nll': pytest.approx(-log / len(labels)),
        'calibration/ece': pytest.approx(
            ece_in_loops(confidence, correct, bins)
        ),
        'calibration/aurc': pytest.approx(
            aurc_in_order([r for _, r in ranked])
        ),
    }


@pytest.mark.parametrize('n', [1, 37])
def test_the_metric_gives_the_three_measures_of_all_batches(n):
    scores, labels = predictions(n)
    assert measured(scores, labels) == expected(scores, labels)


def test_bins_are_an_option():
    scores, labels = predictions(37)
    assert measured(scores, labels, bins=3) == expected(scores, labels, 3)


def test_it_is_found_from_every_scope():
    for scope in ('mmengine', 'mmpretrain', 'mmdet'):
        with METRICS.switch_scope_and_registry(scope) as registry:
            metric = registry.build(dict(type='Calibration'))
        assert type(metric) is Calibration


def test_half_precision_is_a_distribution_still():
    scores, labels = predictions(20, classes=200)
    half = measured(scores.half(), labels)
    for name, value in measured(scores, labels).items():
        assert half[name] == pytest.approx(value, rel=0.02, abs=0.01)


def test_scores_are_divided_by_their_sum():
    result = measured(torch.tensor([[1.0, 0.005]]), torch.tensor([0]))
    assert result['calibration/nll'] == pytest.approx(math.log(1.005))
    assert result['calibration/ece'] == pytest.approx(0.005 / 1.005)


def test_a_sure_and_wrong_prediction_stays_finite():
    scores = torch.tensor([[0.0, 1.0]])
    result = measured(scores, torch.tensor([0]))
    assert result['calibration/nll'] == pytest.approx(103.28, abs=0.01)


@pytest.mark.parametrize(
    'score, words',
    [
        ([0.5, math.nan], r'pred_score\[1\]=nan is no .*divergence'),
        ([math.inf, 0.5], r'pred_score\[0\]=inf is no probability'),
        ([1.5, -0.5], r'pred_score\[1\]=-0.5 is no probability'),
        ([[0.5, 0.5]], r'pred_score of shape \(1, 2\)'),
        ([0.9, 0.8], r'sums to 1\.7 instead of 1: .*softmax'),
        ([0.0, 0.0], 'sums to 0 '),
    ],
)
def test_scores_that_are_no_distribution_are_refused(score, words):
    sample = dict(pred_score=torch.tensor(score), gt_label=torch.tensor([0]))
    with pytest.raises(ValueError, match=words):
        Calibration().process(None, [sample])


def test_one_wrong_score_among_a_thousand_is_named():
    scores = torch.full((1000,), 0.001)
    scores[617] = math.nan
    sample = dict(pred_score=scores, gt_label=torch.tensor([0]))
    with pytest.raises(ValueError, match=r'pred_score\[617\]=nan'):
        Calibration().process(None, [sample])


@pytest.mark.parametrize('label', [0.5, math.nan, math.inf])
def test_a_label_that_is_no_number_of_a_class_is_refused(label):
    sample = dict(pred_score=[0.5, 0.5], gt_label=[label])
    with pytest.raises(ValueError, match=f'gt_label={label} is not the num'):
        Calibration().process(None, [sample])


@pytest.mark.parametrize('labels', [[0, 1], []])
def test_other_than_one_label_is_refused(labels):
    sample = DataSample().set_pred_score(torch.tensor([0.5, 0.5]))
    sample.set_gt_label(torch.tensor(labels, dtype=torch.long))
    with pytest.raises(ValueError, match='one label a sample.*multi-label'):
        Evaluator(Calibration()).process([sample])


def test_a_label_beyond_the_scores_is_refused():
    for label in (2, -1):
        sample = dict(pred_score=[0.5, 0.5], gt_label=[label])
        words = f'gt_label={label} is not one of the 2'
        with pytest.raises(ValueError, match=words):
            Calibration().process(None, [sample])


def test_a_sample_without_scores_is_refused():
    sample = DataSample().set_pred_label(0).set_gt_label(0)
    with pytest.raises(ValueError, match='takes pred_score and gt_label'):
        Evaluator(Calibration()).process([sample])


def test_a_set_without_samples_is_refused():
    with pytest.raises(ValueError, match=r'shape \(0,\)'):
        Calibration().compute_metrics([])


def evaluate_a_half(rank, address, folder):
    """One of two processes; samples alternate, the last one is padding."""
    torch.distributed.init_process_group(
        'gloo', init_method=address, rank=rank, world_size=2
    )
    scores, labels = predictions(13)
    mine = [i % 13 for i in range(rank, 14, 2)]
    evaluator = Evaluator(Calibration())
    evaluator.process(data_samples(scores[mine], labels[mine]))
    torch.save(evaluator.evaluate(13), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_measure_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
    multiprocessing.spawn(evaluate_a_half, (address, tmp_path), nprocs=2)
    for rank in (0, 1):
        result = torch.load(tmp_path / f'{rank}.pth')
        assert result == expected(*predictions(13))
