"""Samplers and data sets."""
