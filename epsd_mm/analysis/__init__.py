"""Reports and figures."""

from .parts import (
    by_part,
    layer_figures,
    multiply_adds,
    part_table,
    summed,
)
from .report import density_figure, report_text, write_report

__all__ = [
    'by_part',
    'density_figure',
    'layer_figures',
    'multiply_adds',
    'part_table',
    'report_text',
    'summed',
    'write_report',
]
