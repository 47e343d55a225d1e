"""Samplers."""

from epsd_mm import needs_mm as needs_mm

from .class_pair import ClassPairBatchSampler
from .overlap import OverlapBatchSampler

__all__ = ['ClassPairBatchSampler', 'OverlapBatchSampler']
