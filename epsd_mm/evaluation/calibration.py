"""How far the confidence of a classifier can be trusted.

The functions take numpy arrays, tensors or sequences of N samples, calculate
in float64 and return fractions (nats for the likelihood), never percents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

# Below this, a float32 is zero: no positive probability is altered by it.
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
# How far from 1 the sum of a sample's scores may be.
_TOLERANCE = 0.01


def negative_log_likelihood(probability: Any) -> float:
    """Mean of -log p, where p is what a sample's true class was given.

    A probability of zero counts as the smallest positive float32, 1.4e-45:
    such a sample adds 103.28 instead of infinity.

    Args:
        probability: Probability of the true class, in [0, 1], shape (N,).

    Returns:
        The mean in nats.

    Raises:
        ValueError: There is no sample, or a value is no probability.
    """
    probability = _fractions(probability, 'probability')
    return float(-np.log(np.maximum(probability, SMALLEST)).mean())


def expected_calibration_error(
    confidence: Any, correct: Any, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy, by bins.

    ``ECE = sum_b n_b / N * |accuracy_b - confidence_b|`` over bins of equal
    width: bin b of B holds confidences in (b / B, (b + 1) / B], and the first
    one holds 0 too. Guo et al., *On Calibration of Modern Neural Networks*,
    ICML 2017, equation 3.

    Args:
        confidence: Probability of the predicted class, in [0, 1], shape (N,).
        correct: Whether the prediction was right, shape (N,).
        bins: Number of bins B.

    Returns:
        The error, in [0, 1].

    Raises:
        ValueError: There is no sample, the shapes differ, or a value is out
            of range.
    """
    _check_bins(bins)
    confidence, correct = _pair(confidence, correct)
    edges = np.arange(bins + 1) / bins
    index = np.searchsorted(edges, confidence, side='left')
    gaps = np.bincount(np.maximum(index, 1), weights=correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def risk_coverage(confidence: Any, correct: Any) -> np.ndarray:
    """The risk-coverage curve: what is wrong among the most confident.

    Samples of equal confidence have no order: each counts as the mean error
    of its group, which is the mean over all orders. Geifman and El-Yaniv,
    *Selective Classification for Deep Neural Networks*, NeurIPS 2017.

    Args:
        confidence: Probability of the predicted class, in [0, 1], shape (N,).
        correct: Whether the prediction was right, shape (N,).

    Returns:
        For k = 1 … N the error rate among the k samples of highest
        confidence, shape (N,).

    Raises:
        ValueError: As in :func:`expected_calibration_error`.
    """
    confidence, correct = _pair(confidence, correct)
    _, group, sizes = np.unique(
        -confidence, return_inverse=True, return_counts=True
    )
    rates = np.bincount(group, weights=1 - correct) / sizes
    errors = np.cumsum(np.repeat(rates, sizes))
    return errors / np.arange(1, len(errors) + 1)


def aurc(confidence: Any, correct: Any) -> float:
    """Area under the risk-coverage curve.

    The mean of :func:`risk_coverage`; Geifman et al., ICLR 2019.

    Args:
        confidence: Probability of the predicted class, in [0, 1], shape (N,).
        correct: Whether the prediction was right, shape (N,).

    Returns:
        The area, in [0, 1]; the smaller, the better errors are foreseen.

    Raises:
        ValueError: As in :func:`expected_calibration_error`.
    """
    return float(risk_coverage(confidence, correct).mean())


@METRICS.register_module()
class Calibration(BaseMetric):
    """The three measures above, of a single-label classifier of mmpretrain.

    Gives ``calibration/nll`` in nats, ``calibration/ece`` and
    ``calibration/aurc`` as fractions. The prediction is the first class of
    highest score, its score the confidence. Scores are divided by their sum,
    which may differ from 1 by what half precision loses.

    Args:
        bins: Bins of the expected calibration error.
        kwargs: Options of mmengine's ``BaseMetric``: collect_device, prefix,
            collect_dir.

    Raises:
        ValueError: ``bins`` is not positive; in use: a sample has not exactly
            one label, which is the number of a class, or its scores are no
            distribution over the classes.
    """

    default_prefix = 'calibration'

    def __init__(self, bins: int = 15, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_bins(bins)
        self.bins = bins

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep three numbers a sample: all that the measures need of it."""
        for sample in data_samples:
            scores, label = scores_and_label(sample)
            prediction = int(scores.argmax())
            self.results.append(
                (scores[label], scores[prediction], prediction == label)
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The measures over the samples of all ranks."""
        likelihood, confidence, correct = np.array(results).reshape(-1, 3).T
        return dict(
            nll=negative_log_likelihood(likelihood),
            ece=expected_calibration_error(confidence, correct, self.bins),
            aurc=aurc(confidence, correct),
        )


def scores_and_label(sample: Mapping) -> tuple[np.ndarray, int]:
    """Probabilities of the classes, and the true one, of a sample.

    Raises:
        ValueError: It has not exactly one label, which is the number of a
            class, or its scores are no distribution over the classes.
    """
    if 'pred_score' not in sample or 'gt_label' not in sample:
        raise ValueError(
            f'a sample has {", ".join(map(str, sample))}, but calibration '
            'takes pred_score and gt_label: use a head that returns '
            'scores and a data set that has labels'
        )
    scores = _float64(sample['pred_score'])
    labels = _float64(sample['gt_label']).ravel()
    if len(labels) != 1:
        raise ValueError(
            f'gt_label={labels.tolist()} of a sample: calibration is '
            'defined for one label a sample; take the metric out of the '
            'evaluator of a multi-label task'
        )
    if scores.ndim != 1:
        raise ValueError(
            f'pred_score of shape {scores.shape} must have one score for '
            f'each class: {_REMEDY}'
        )
    wrong = ~(np.isfinite(scores) & (scores >= 0))
    if wrong.any():
        index = int(wrong.argmax())
        raise ValueError(
            f'pred_score[{index}]={scores[index]} is no probability: {_REMEDY}'
        )
    total = scores.sum()
    if abs(total - 1) > _TOLERANCE:
        raise ValueError(
            f'pred_score sums to {total:.6g} instead of 1: {_REMEDY}'
        )
    label = labels[0]
    if not label.is_integer():
        raise ValueError(
            f'gt_label={label} is not the number of a class: correct the '
            'labels of the data set'
        )
    if not 0 <= label < len(scores):
        raise ValueError(
            f'gt_label={int(label)} is not one of the {len(scores)} '
            'classes that were scored: set num_classes of the head to '
            'that of the data set'
        )
    return scores / total, int(label)


_REMEDY = (
    'calibration takes softmax probabilities of a single-label head; where '
    'they are not finite, look for divergence in training'
)


def _float64(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        # numpy knows no bfloat16.
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _fractions(values: Any, name: str) -> np.ndarray:
    values = _float64(values)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f'{name} of shape {values.shape} must have shape (N,), N > 0: '
            'give a number for each sample'
        )
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f'{name}[{row}]={values[row]} is not in [0, 1]: give '
            'probabilities, as softmax does, or true and false'
        )
    return values


def _pair(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    confidence = _fractions(confidence, 'confidence')
    correct = _fractions(correct, 'correct')
    if confidence.shape != correct.shape:
        raise ValueError(
            f'{len(confidence)} confidences, but {len(correct)} values of '
            'correct: give both for each sample'
        )
    unclear = ~np.isin(correct, (0, 1))
    if unclear.any():
        row = int(unclear.argmax())
        raise ValueError(
            f'correct[{row}]={correct[row]} is neither true nor false: say '
            'whether the prediction was right'
        )
    return confidence, correct


def _check_bins(bins: int) -> None:
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ValueError(f'bins={bins!r} must be a positive integer')
