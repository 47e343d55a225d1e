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
from .observation import Observation
from .teachers import History, Partner, Previous, Teacher

__all__ = [
    'CSKDLoss',
    'DLBLoss',
    'History',
    'Observation',
    'PSKDLoss',
    'Partner',
    'Previous',
    'SelfDistillationLoss',
    'Teacher',
    'cs_kd_loss',
    'dlb_loss',
    'ps_kd_divergence',
    'ps_kd_loss',
]
