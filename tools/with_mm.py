"""Imported first: ends a tool in a sentence where OpenMMLab is absent."""

import sys
from pathlib import Path

# The package repairs broken environments, so it is imported before mm.
from epsd_mm.compat import require_mm

# isort: split
from endings import one_sentence

with one_sentence(ImportError):
    require_mm(Path(sys.argv[0]).name)
