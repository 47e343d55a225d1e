"""What layers know of their widths, for tensors of other shapes."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from .groups import Width
from .heads import Attention, attention_of
from .sides import is_convolution

#: Attributes of attention that are the width of all of its heads together.
_ALL_HEADS = ('embed_dims', 'attn_dim')


def widths(
    model: nn.Module,
    shapes: Mapping[str, torch.Size],
    attributes: Mapping[str, Width] | None = None,
) -> dict[str, dict[str, int]]:
    """Attributes of modules when their tensors have these shapes.

    Args:
        model: With its layers as they are.
        shapes: Of parameters and buffers that become narrower, by name.
        attributes: Those of :class:`Groups`.

    Returns:
        The attributes that change, by the name of the module that has them.
    """
    layers = {name.rpartition('.')[0] for name in shapes}
    found: dict[str, dict[str, int]] = {}
    for name, module in model.named_modules():
        if attention := attention_of(module):
            reader = _name_of(attention.reader, module)
            shape = shapes.get(f'{name}.{reader}.weight')
            if shape is not None:
                found[name] = _of_attention(module, attention, shape[1])
        elif name in layers:
            prefix = f'{name}.' if name else ''
            own = {
                tensor: shapes[prefix + tensor]
                for tensor in ('weight', 'bias', 'running_mean')
                if prefix + tensor in shapes
            }
            found[name] = _of_layer(module, own)
    for path, (tensor, axis, share) in (attributes or {}).items():
        if tensor in shapes:
            name, _, attribute = path.rpartition('.')
            width = shapes[tensor][axis] // share
            found.setdefault(name, {})[attribute] = width
    return {
        name: changed
        for name, values in found.items()
        if (changed := _changed(model.get_submodule(name), values))
    }


def _of_layer(
    layer: nn.Module, shapes: Mapping[str, torch.Size]
) -> dict[str, int]:
    if is_convolution(layer) and 'weight' in shapes:
        return _of_convolution(layer, shapes['weight'])
    if isinstance(layer, nn.Linear) and 'weight' in shapes:
        out, into = shapes['weight']
        return dict(out_features=out, in_features=into)
    if isinstance(layer, nn.GroupNorm):
        (width,) = shapes['weight']
        size = layer.num_channels // layer.num_groups
        return dict(num_channels=width, num_groups=width // size)
    if isinstance(layer, _NormBase):
        return dict(num_features=next(iter(shapes.values()))[0])
    if isinstance(layer, nn.PReLU):
        return dict(num_parameters=shapes['weight'][0])
    return {}


def _of_convolution(conv: nn.Module, shape: torch.Size) -> dict[str, int]:
    rows, columns = shape[:2]
    groups = rows // (conv.weight.shape[0] // conv.groups)
    if conv.groups > 1:
        columns = columns * groups
    else:
        groups = 1
    if getattr(conv, 'transposed', False):
        rows, columns = columns, rows
    return dict(out_channels=rows, in_channels=columns, groups=groups)


def _of_attention(
    module: nn.Module, attention: Attention, width: int
) -> dict[str, int]:
    before = attention.reader.in_features
    heads = width // (before // attention.heads)
    same = (n for n in _ALL_HEADS if getattr(module, n, None) == before)
    return dict(num_heads=heads, **dict.fromkeys(same, width))


def _name_of(layer: nn.Module, module: nn.Module) -> str:
    return next(n for n, child in module.named_children() if child is layer)


def _changed(
    module: nn.Module, attributes: Mapping[str, int]
) -> dict[str, int]:
    return {
        name: value
        for name, value in attributes.items()
        if getattr(module, name) != value
    }
