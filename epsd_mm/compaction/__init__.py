"""Networks without their removed channels."""

from .compact import compact
from .equality import compare
from .shrink import shrink
from .width_table import WidthTable

__all__ = ['WidthTable', 'compact', 'compare', 'shrink']
