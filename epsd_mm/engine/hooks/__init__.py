"""Hooks."""

from epsd_mm import needs_mm as needs_mm

from .dense_hook import DenseHook
from .epsd_hook import EPSDHook
from .revival_hook import RevivalHook
from .summary_hook import SummaryHook

__all__ = ['DenseHook', 'EPSDHook', 'RevivalHook', 'SummaryHook']
