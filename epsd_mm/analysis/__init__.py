"""Reports and figures."""

from epsd_mm import needs_mm as needs_mm

from .parts import (
    by_part,
    layer_figures,
    multiply_adds,
    part_table,
    summed,
)
from .report_file import Report, ReportError, read_report
from .scoring_report import (
    Written,
    density_figure,
    report_text,
    require_folder,
    write_masks,
    write_report,
    write_unscored,
)

__all__ = [
    'Report',
    'ReportError',
    'Written',
    'by_part',
    'density_figure',
    'layer_figures',
    'multiply_adds',
    'part_table',
    'read_report',
    'report_text',
    'require_folder',
    'summed',
    'write_masks',
    'write_report',
    'write_unscored',
]
