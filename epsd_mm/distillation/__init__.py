"""Self-distillation on observed predictions, in pure torch."""

from .losses import (
    CSKDLoss,
    DLBLoss,
    PSKDLoss,
    SelfDistillationLoss,
    cs_kd_loss,
    dlb_loss,
    ps_kd_divergence,
    ps_kd_loss,
)
from .needs import Need, Overlap, Pairs, Past, Watch
from .observation import Observation
from .teachers import History, Partner, Previous, Teacher

__all__ = [
    'CSKDLoss',
    'DLBLoss',
    'History',
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
    'Watch',
    'cs_kd_loss',
    'dlb_loss',
    'ps_kd_divergence',
    'ps_kd_loss',
]
