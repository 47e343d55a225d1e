"""Measurements of a model."""

from .sparsity import density_table, layer_sparsity, sparsity_table

__all__ = ['density_table', 'layer_sparsity', 'sparsity_table']
