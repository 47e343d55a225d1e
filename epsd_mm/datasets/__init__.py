"""Samplers and data sets."""

from .object_numbers import number_objects

__all__ = ['number_objects']
