"""Hooks."""

from .dense_hook import DenseHook
from .epsd_hook import EPSDHook

__all__ = ['DenseHook', 'EPSDHook']
