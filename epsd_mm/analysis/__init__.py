"""Reports and figures."""

from .report import density_figure, density_table, write_report

__all__ = ['density_figure', 'density_table', 'write_report']
