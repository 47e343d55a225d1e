"""Shapes of a layer's tensors, from the widths that it says it has."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from epsd_mm.structure.sides import is_convolution

Shape = tuple[int, ...]


def layer_shapes(
    layer: nn.Module, widths: Mapping[str, int]
) -> dict[str, Shape]:
    """What :func:`~epsd_mm.structure.widths` says, the other way round.

    Args:
        layer: Any module; its tensors may have any size.
        widths: Attributes of it that are different now.

    Returns:
        Shapes of those parameters and buffers that follow from attributes.
    """

    def of(name: str) -> int:
        return widths.get(name, getattr(layer, name))

    if is_convolution(layer):
        rows, columns = of('out_channels'), of('in_channels')
        if getattr(layer, 'transposed', False):
            rows, columns = columns, rows
        kernel = layer.weight.shape[2:]
        found = dict(
            weight=(rows, columns // of('groups'), *kernel),
            bias=(of('out_channels'),),
        )
    elif isinstance(layer, nn.Linear):
        rows = of('out_features')
        found = dict(weight=(rows, of('in_features')), bias=(rows,))
    elif isinstance(layer, nn.GroupNorm):
        found = dict.fromkeys(('weight', 'bias'), (of('num_channels'),))
    elif isinstance(layer, _NormBase):
        names = ('weight', 'bias', 'running_mean', 'running_var')
        found = dict.fromkeys(names, (of('num_features'),))
    elif isinstance(layer, nn.PReLU):
        found = dict(weight=(of('num_parameters'),))
    else:
        found = {}
    own = {**layer._parameters, **layer._buffers}
    return {n: shape for n, shape in found.items() if own.get(n) is not None}
