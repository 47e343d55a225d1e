"""Hooks."""

from .epsd_hook import EPSDHook

__all__ = ['EPSDHook']
