"""Measurements of a model."""

from epsd_mm import needs_mm as needs_mm

from .calibration import (
    Calibration,
    aurc,
    expected_calibration_error,
    negative_log_likelihood,
    risk_coverage,
)
from .predictions import PredictionReader, Predictions
from .sparsity import (
    density_table,
    layer_sparsity,
    sparsity_of_all,
    sparsity_table,
)
from .voc_metric import VOCDetectionMetric

__all__ = [
    'Calibration',
    'PredictionReader',
    'Predictions',
    'VOCDetectionMetric',
    'aurc',
    'density_table',
    'expected_calibration_error',
    'layer_sparsity',
    'negative_log_likelihood',
    'risk_coverage',
    'sparsity_of_all',
    'sparsity_table',
]
