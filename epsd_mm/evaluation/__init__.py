"""Measurements of a model."""

from .sparsity import layer_sparsity, sparsity_table

__all__ = ['layer_sparsity', 'sparsity_table']
