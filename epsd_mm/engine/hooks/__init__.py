"""Hooks."""

from .dense_hook import DenseHook
from .epsd_hook import EPSDHook
from .revival_hook import RevivalHook

__all__ = ['DenseHook', 'EPSDHook', 'RevivalHook']
