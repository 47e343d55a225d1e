"""The one place that knows about broken and partial environments."""

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
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
            'found here: pip install "epsd_mm[mm]" for classification; '
            '`python -m epsd_mm.check_env` has the commands for detection'
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
    binary = PathFinder.find_spec('_C', package.submodule_search_locations)
    if binary is None:
        return False
    try:
        # What `import torchvision` does, only without importing the rest.
        torch.ops.load_library(binary.origin)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, 'nms')
