"""The commands of tools/benchmark.py, by what they take to be imported."""

from epsd_mm.benchmark.store import StoreError
from epsd_mm.benchmark.suite_folder import SuiteError

#: What a user can put right.
ERRORS = (OSError, ValueError, ImportError, StoreError, SuiteError)
