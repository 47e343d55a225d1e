"""Networks without their removed channels."""

from .compact import compact
from .equality import check_training, compare
from .shrink import shrink
from .width_table import WidthTable

__all__ = [
    'WidthTable',
    'check_training',
    'compact',
    'compare',
    'shrink',
]
