"""Networks without their removed channels."""

from epsd_mm.compat import absent_mm

from .equality import check_training, compare
from .shrink import shrink
from .width_table import WidthTable

__all__ = ['WidthTable', 'check_training', 'compare', 'shrink']

if not absent_mm():  # whose registry builds such networks from configs
    from .compact import compact

    __all__ = [*__all__, 'compact']
