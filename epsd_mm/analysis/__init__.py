"""Reports and figures."""

from .report import density_figure, report_text, write_report

__all__ = ['density_figure', 'report_text', 'write_report']
