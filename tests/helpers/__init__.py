"""What tests share.

Processes of their own import these without a conftest, and epsd_mm repairs
broken environments, so it is imported before anything of mm.
"""

import epsd_mm  # noqa: F401
