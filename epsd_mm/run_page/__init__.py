"""One run as one page."""

from epsd_mm import needs_mm as needs_mm

from .run_folder import RunFolder
from .seen_images import SeenImages
from .whole_page import run_page

__all__ = ['SeenImages', 'RunFolder', 'run_page']
