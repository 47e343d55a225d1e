"""Samplers."""

from .class_pair import ClassPairBatchSampler
from .uniform import UniformSampler

__all__ = ['ClassPairBatchSampler', 'UniformSampler']
