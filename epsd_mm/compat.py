"""The one place that knows about broken and partial environments."""

import sys
from collections.abc import Iterable
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

# An operator is forgotten together with the library that declared it.
_declared: list[Any] = []

#: What a training of OpenMMLab runs on.
_MM = ('mmengine', 'mmcv')


def absent_mm() -> list[str]:
    """What is not installed of what a training of OpenMMLab runs on.

    Where something is, this package is the part of it that takes torch
    alone. What is installed, but broken, is not absent.
    """
    return [name for name in _MM if find_spec(name) is None]


def require_mm(what: str) -> None:
    """Raise where OpenMMLab is absent.

    Args:
        what: What cannot work without it, for the message.

    Raises:
        ImportError: Has the line that installs it.
    """
    if absent := absent_mm():
        raise ImportError(
            f'{what} needs OpenMMLab, and {" and ".join(absent)} cannot be '
            'found here: pip install ".[mm]" in a clone of epsd_mm for '
            'classification; `python -m epsd_mm.check_env` has the commands '
            'for detection'
        )


def is_mm_model(model: Any) -> bool:
    """Whether a model is one of mmengine's, which know their own loss."""
    package = sys.modules.get('mmengine.model')  # imported, if it is one
    return package is not None and isinstance(model, package.BaseModel)


def repair_torchvision() -> bool:
    """Makes torchvision importable where its operators do not load.

    A torchvision that was built for another torch (CUDA against CPU, say)
    fails with ``operator torchvision::nms does not exist``, and mmdet and
    mmpretrain with it. Importing it takes no more than the declarations of
    the two operators that it refers to; nothing here calls them.

    Returns:
        bool: Whether anything had to be declared.
    """
    if _declared or find_spec('torch') is None:
        return False
    package = find_spec('torchvision')
    if package is None or _own_operators_load(package):
        return False
    from torch.library import Library

    library = Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(
            f'{name}(Tensor dets, Tensor scores, float iou_threshold) '
            '-> Tensor'
        )
    _declared.append(library)
    return True


def _own_operators_load(package: Any) -> bool:
    import torch

    if hasattr(torch.ops.torchvision, 'nms'):
        return True
    binaries = _binaries(package.submodule_search_locations)
    ours = [path for name, path in binaries.items() if name.startswith('_C')]
    for path in ours:
        try:
            # What `import torchvision` does, only without importing the rest.
            torch.ops.load_library(path)
        except OSError:
            continue
        if hasattr(torch.ops.torchvision, 'nms'):
            return True
    # Where they are declared twice the process ends: no guess is made of a
    # torchvision that keeps them elsewhere.
    return bool(binaries) and not ours


def _binaries(locations: Iterable[str]) -> dict[str, str]:
    """Paths of the compiled modules in some folders, by name.

    Operators are in ``_C``, and from torchvision 0.29 on in ``_C_stable``.
    """
    specs = (
        PathFinder.find_spec(module.name, locations)
        for module in iter_modules(locations)
    )
    return {
        spec.name: spec.origin
        for spec in specs
        if isinstance(spec.loader, ExtensionFileLoader)
    }
