"""Self-distillation on observed predictions, in pure torch."""

from .losses import (
    KD,
    CSKDLoss,
    DLBLoss,
    PSKDLoss,
    SelfDistillationLoss,
    cs_kd_loss,
    dlb_loss,
    kd_divergence,
    kd_loss,
    ps_kd_divergence,
    ps_kd_loss,
)
from .needs import Lesson, Need, Overlap, Pairs, Past, Watch
from .observation import Observation
from .teachers import History, Partner, Previous, Teacher, Trained

__all__ = [
    'KD',
    'CSKDLoss',
    'DLBLoss',
    'History',
    'Lesson',
    'Need',
    'Observation',
    'Overlap',
    'PSKDLoss',
    'Pairs',
    'Partner',
    'Past',
    'Previous',
    'SelfDistillationLoss',
    'Teacher',
    'Trained',
    'Watch',
    'cs_kd_loss',
    'dlb_loss',
    'kd_divergence',
    'kd_loss',
    'ps_kd_divergence',
    'ps_kd_loss',
]
