"""Operators of mm that can be differentiated twice."""

from epsd_mm import needs_mm as needs_mm

from .roi_align import TwiceDifferentiableRoIAlign, replace_roi_align

__all__ = ['TwiceDifferentiableRoIAlign', 'replace_roi_align']
