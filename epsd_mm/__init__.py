"""Early pruning with self-distillation, for OpenMMLab and any torch module.

Where OpenMMLab is absent, what takes torch alone is there: :func:`prune`,
``pruning``, ``policies``, ``distillation``, ``structure``, ``compaction`` and
``registry``.
"""

import os
import sys
from difflib import get_close_matches

from . import compat
from .shipped_files import shipped
from .version import __version__

__all__ = [
    'MaskKeeper',
    'Masks',
    '__version__',
    'config_path',
    'prune',
    'shipped',
]

try:
    # What only looks at files does without all this, and takes no seconds.
    if 'EPSD_MM_BARE' not in os.environ:
        # In this order: torchvision must be repaired before all that uses it.
        compat.repair_torchvision()
        from . import compaction, engine, registry  # noqa: F401
        from .api import prune
        from .pruning import MaskKeeper, Masks

        if not compat.absent_mm():
            from . import evaluation  # noqa: F401
            from .datasets import transforms  # noqa: F401
except (ImportError, OSError) as error:
    # The tool that explains a broken environment has to start in one.
    if 'epsd_mm.check_env' not in sys.orig_argv:
        raise ImportError(
            f'{error} (`python -m epsd_mm.check_env` says what is missing '
            'and how to install it)'
        ) from error


def config_path(name: str) -> str:
    """Where a config of this package is, for ``_base_`` and for the tools.

    Args:
        name (str): Path inside ``configs/``, with or without ``.py``.

    Returns:
        str: The absolute path, wherever the package is installed.

    Raises:
        FileNotFoundError: There is no such config; lists similar names.
    """
    folder = shipped('configs')
    stem = name.removesuffix('.py')
    path = folder / f'{stem}.py'
    if not path.is_file():
        known = sorted(
            file.relative_to(folder).with_suffix('').as_posix()
            for file in folder.rglob('*.py')
        )
        near = get_close_matches(stem, known, n=3, cutoff=0.4) or known
        raise FileNotFoundError(
            f'no config {name!r} in {folder}; similar are: {", ".join(near)}'
        )
    return str(path)
