"""Self-distillation on observed predictions, in pure torch."""

from .losses import CSKDLoss, cs_kd_loss
from .observation import Observation
from .teachers import Partner, Teacher

__all__ = [
    'CSKDLoss',
    'Observation',
    'Partner',
    'Teacher',
    'cs_kd_loss',
]
