"""What a suite has found, as one page."""

from .metafile import add_to_index, write_metafile
from .writing import write_report

__all__ = ['add_to_index', 'write_metafile', 'write_report']
