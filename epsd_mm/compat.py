"""The one place that knows about broken environments."""

from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

# An operator is forgotten together with the library that declared it.
_declared: list[Any] = []


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
