"""Operators of mm that can be differentiated twice."""

from .roi_align import TwiceDifferentiableRoIAlign, replace_roi_align

__all__ = ['TwiceDifferentiableRoIAlign', 'replace_roi_align']
