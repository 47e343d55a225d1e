"""Suites of comparisons."""

from epsd_mm import needs_mm as needs_mm
