"""What a suite has found, as one page."""

from .metafile import write_metafile
from .writing import write_report

__all__ = ['write_metafile', 'write_report']
