"""Criteria: how much each weight matters, one criterion a file."""

from .base import Criterion
from .magnitude import Magnitude
from .prospr import ProsPr
from .random import Random
from .snip import SNIP

__all__ = ['SNIP', 'Criterion', 'Magnitude', 'ProsPr', 'Random']
