"""Data sets on disk: fetch them, put them into place, check and miss them."""

from epsd_mm import needs_mm as needs_mm

from .layouts import LAYOUTS
from .prepare import prepare
from .require import require_data

__all__ = ['LAYOUTS', 'prepare', 'require_data']
