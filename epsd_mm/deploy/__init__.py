"""Networks as files that run without torch and OpenMMLab.

``run.py`` is copied beside each file, as the command that runs it, so it
imports nothing of this package.
"""
