"""Imported first by what cannot do without OpenMMLab: says so in a sentence.

In a package of this one: ``from epsd_mm import needs_mm as needs_mm``, by
which linters know that the import is meant.
"""

from .compat import require_mm

require_mm('what was imported of epsd_mm')
