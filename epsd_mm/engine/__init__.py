"""What connects pruning and distillation to mmengine."""

from epsd_mm.compat import absent_mm

if absent_mm():
    from .absent import EPSDHook
else:
    from .hooks import EPSDHook

__all__ = ['EPSDHook']
