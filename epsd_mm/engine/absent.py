"""What stands for the hook where OpenMMLab, or a part of it, is absent."""

from importlib.util import find_spec
from typing import Any

from epsd_mm.compat import require_mm


class EPSDHook:
    """Says what it lacks when it is made.

    Raises:
        ImportError: Always.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        require_mm('EPSDHook')


if find_spec('mmengine'):  # without mmcv; a config names the hook all the same
    from mmengine.registry import HOOKS

    HOOKS.register_module(module=EPSDHook)
