"""Losses that compare predictions, one a file."""

from .base import SelfDistillationLoss
from .cs_kd import CSKDLoss, cs_kd_loss
from .dlb import DLBLoss, dlb_loss
from .kd import KD, kd_divergence, kd_loss
from .ps_kd import PSKDLoss, ps_kd_divergence, ps_kd_loss

__all__ = [
    'KD',
    'CSKDLoss',
    'DLBLoss',
    'PSKDLoss',
    'SelfDistillationLoss',
    'cs_kd_loss',
    'dlb_loss',
    'kd_divergence',
    'kd_loss',
    'ps_kd_divergence',
    'ps_kd_loss',
]
