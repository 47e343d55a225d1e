"""Operators of tensors that know no model."""
