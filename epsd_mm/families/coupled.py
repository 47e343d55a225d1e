"""Groups of channels of a model of mmdet, mmpretrain or a relative."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.structure import Groups, find_groups, traceable

from . import proposals, tensor_mode
from .window_attention import any_heads

#: Sizes of an image to try: some networks need a larger one.
_SIZES = (128, 224, 320, 512)


def channel_groups(model: nn.Module, size: int | None = None) -> Groups:
    """Which channels of an mm model go together, see :func:`find_groups`.

    Two-stage detectors are followed through RoIAlign at fixed proposals, any
    other model as ``mode='tensor'`` calls it.

    Args:
        model: The model, as a runner builds it; left as it was.
        size: Height and width of the image that it is traced with. By
            default what its backbone says, or the first of some sizes that
            works: smaller is faster.

    Raises:
        ImportError: torch-pruning is not installed.
        ValueError: The model cannot be traced.
    """
    family = proposals if proposals.fits(model) else tensor_mode
    with any_heads(model):
        image = _image(model, family, size)
        attributes = family.attributes(model, image)
        return find_groups(model, image, family.trace, attributes)


def example_call(model: nn.Module) -> Callable[[nn.Module], Any]:
    """How this model, or a copy of it with other widths, is traced.

    Raises:
        ValueError: It cannot be called on any image.
    """
    family = _family(model)
    image = _image(model, family, None)
    return lambda like: family.trace(like, image)


def _family(model: nn.Module) -> ModuleType:
    return proposals if proposals.fits(model) else tensor_mode


def _image(model: nn.Module, family: ModuleType, size: int | None) -> Tensor:
    """The smallest one that the model takes."""
    own = getattr(getattr(model, 'backbone', None), 'img_size', None)
    sizes = (size,) if size else (own,) if own else _SIZES
    for size in sizes:
        image = _noise(model, size)
        try:
            with traceable(model), torch.no_grad():
                family.trace(model, image)
        except Exception as e:  # whatever a model says to what it lacks
            error = e
        else:
            return image
    (line, *_) = str(error).splitlines() or ['']
    raise ValueError(
        f'{type(model).__name__} cannot be traced with an image of size '
        f'{size}: {type(error).__name__}: {line} (perhaps with another size)'
    ) from error


def _noise(model: nn.Module, size: int | tuple[int, int]) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, height, width, generator=generator)
    return noise.to(next(model.parameters()))
