"""Samplers and data sets."""

from epsd_mm.compat import absent_mm

if not absent_mm():  # settings take a word of this room without it
    from .object_numbers import number_objects

    __all__ = ['number_objects']
