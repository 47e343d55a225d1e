"""Samplers."""

from .class_pair import ClassPairBatchSampler
from .overlap import OverlapBatchSampler

__all__ = ['ClassPairBatchSampler', 'OverlapBatchSampler']
