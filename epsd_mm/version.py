"""The version, alone in its file so that setup.py can run it."""

__version__ = '0.1.0'
