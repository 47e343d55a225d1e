"""Differentiating a loss twice: what is cheap, and what would be wrong."""

from .dead_ends import (
    SecondOrderError,
    second_derivatives,
    second_order_check,
)
from .operators import LeanOperators
from .plain import plain_operators

__all__ = [
    'LeanOperators',
    'SecondOrderError',
    'plain_operators',
    'second_derivatives',
    'second_order_check',
]
