"""Which axes of a layer's parameters follow what it reads and emits."""

from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from epsd_mm.pruning.layers import is_deformable

from .groups import Role


class Axis(NamedTuple):
    """An axis of one tensor of a layer, by its name in the layer."""

    tensor: str
    axis: int
    role: Role


class Sides(NamedTuple):
    """Axes that follow what a layer reads, and what it emits."""

    read: list[Axis]
    emitted: list[Axis]


def is_convolution(module: nn.Module) -> bool:
    """Whether it has channels and groups as convolutions have them."""
    return isinstance(module, _ConvNd) or is_deformable(module)


def sides(module: nn.Module) -> Sides:
    """The axes of a layer; none for a layer of another kind."""
    if is_convolution(module):
        found = _convolution(module)
    elif isinstance(module, nn.Linear):
        found = Sides([_weight(1, 'consumer')], [_weight(0, 'producer')])
        found.emitted.append(Axis('bias', 0, 'producer'))
    elif isinstance(module, (_NormBase, nn.GroupNorm)):
        scaled = [Axis(t, 0, 'norm') for t in ('weight', 'bias')]
        running = ('running_mean', 'running_var')
        found = Sides([], scaled + [Axis(t, 0, 'statistic') for t in running])
    elif isinstance(module, nn.PReLU) and module.num_parameters > 1:
        found = Sides([_weight(0, 'consumer')], [])
    else:
        found = Sides([], [])
    return Sides(*([a for a in side if _has(module, a)] for side in found))


def _convolution(conv: nn.Module) -> Sides:
    transposed = getattr(conv, 'transposed', False)
    bias = Axis('bias', 0, 'producer')
    if conv.groups == 1:
        emitted = _weight(1 if transposed else 0, 'producer')
        return Sides(
            [_weight(0 if transposed else 1, 'consumer')], [emitted, bias]
        )
    # One axis has the channels of all groups, and a group goes as a whole.
    kernels = _weight(0, 'producer')
    if transposed:
        return Sides([kernels], [bias])
    return Sides([], [kernels, bias])


def _weight(axis: int, role: Role) -> Axis:
    return Axis('weight', axis, role)


def _has(module: nn.Module, axis: Axis) -> bool:
    return getattr(module, axis.tensor, None) is not None
