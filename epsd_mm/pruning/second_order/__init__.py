"""Differentiating a loss twice: what is cheap, and what would be wrong."""

from .check import SecondOrderError, second_order_check
from .operators import LeanOperators

__all__ = ['LeanOperators', 'SecondOrderError', 'second_order_check']
