"""Self-distillation losses, one a file."""

from .base import SelfDistillationLoss
from .cs_kd import CSKDLoss, cs_kd_loss

__all__ = ['CSKDLoss', 'SelfDistillationLoss', 'cs_kd_loss']
