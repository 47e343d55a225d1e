"""Where the other prediction of a self-distillation loss comes from."""

from .base import OtherTeacherError, Teacher
from .history import History
from .partner import Partner
from .previous import Previous
from .trained import Trained

__all__ = [
    'History',
    'OtherTeacherError',
    'Partner',
    'Previous',
    'Teacher',
    'Trained',
]
