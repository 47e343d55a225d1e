"""What connects pruning and distillation to mmengine."""

from .hooks import EPSDHook

__all__ = ['EPSDHook']
