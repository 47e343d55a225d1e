"""Reports and figures."""

from .parts import (
    by_part,
    layer_figures,
    multiply_adds,
    part_table,
    summed,
)
from .scoring_report import (
    Written,
    density_figure,
    report_text,
    require_folder,
    write_masks,
    write_report,
)

__all__ = [
    'Written',
    'by_part',
    'density_figure',
    'layer_figures',
    'multiply_adds',
    'part_table',
    'report_text',
    'require_folder',
    'summed',
    'write_masks',
    'write_report',
]
