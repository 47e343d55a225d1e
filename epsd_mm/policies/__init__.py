"""Masks that change while a network trains, in pure torch."""

from .base import MaskPolicy, Moment
from .fixed import Fixed
from .gradual import Gradual
from .mask_updates import MaskUpdates, Update
from .rigl import RigL
from .set import SET

__all__ = [
    'Fixed',
    'Gradual',
    'MaskPolicy',
    'MaskUpdates',
    'Moment',
    'RigL',
    'SET',
    'Update',
]
