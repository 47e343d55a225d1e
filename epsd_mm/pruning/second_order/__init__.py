"""Differentiating a loss twice: what is cheap, and what would be wrong."""

from .attention import plain_attention
from .check import SecondOrderError, second_order_check
from .operators import LeanOperators

__all__ = [
    'LeanOperators',
    'SecondOrderError',
    'plain_attention',
    'second_order_check',
]
