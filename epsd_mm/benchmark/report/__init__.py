"""What a suite has found, as one page."""

from .pages import write_report

__all__ = ['write_report']
