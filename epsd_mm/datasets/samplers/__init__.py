"""Samplers."""

from .class_pair import ClassPairBatchSampler
from .overlap import OverlapBatchSampler
from .uniform import UniformSampler

__all__ = ['ClassPairBatchSampler', 'OverlapBatchSampler', 'UniformSampler']
