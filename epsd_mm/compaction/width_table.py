"""The widths that layers of a network have instead of those it is built with.

Everything that building a narrow network takes, in plain values: neither the
graph of its channels nor the units that were removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.structure import Width
from epsd_mm.structure.widths import widths
from epsd_mm.versions import check_version

from .layer_shapes import Shape, layer_shapes

_VERSION = 1

#: A width before and after: a number, or the shape of a tensor.
Change = tuple[Any, Any]


@dataclass(frozen=True)
class WidthTable:
    """Which widths change, by the name of the module that has them.

    Example:
        >>> table.layers['backbone.conv1']
        {'out_channels': (64, 32)}

    Attributes:
        layers: For each module, of each attribute the number before and
            after. The shapes of its tensors follow from those; a tensor
            for which they do not is there itself, with both shapes.
    """

    layers: Mapping[str, Mapping[str, Change]]

    @classmethod
    def between(
        cls,
        model: nn.Module,
        shapes: Mapping[str, Shape],
        attributes: Mapping[str, Width] | None = None,
    ) -> 'WidthTable':
        """The table of a network whose tensors get other shapes.

        Args:
            model: As it is before.
            shapes: New ones of parameters and buffers, by name.
            attributes: See :class:`~epsd_mm.structure.Groups`.
        """
        shapes = {n: torch.Size(shape) for n, shape in shapes.items()}
        after = widths(model, shapes, attributes)
        by_layer: dict[str, dict[str, Shape]] = {}
        for name, shape in shapes.items():
            layer, _, own = name.rpartition('.')
            by_layer.setdefault(layer, {})[own] = tuple(shape)
        layers: dict[str, dict[str, Change]] = {}
        for name, module in model.named_modules():
            values = after.get(name, {})
            follow = layer_shapes(module, values)
            changes = {n: (getattr(module, n), v) for n, v in values.items()}
            for own, shape in by_layer.get(name, {}).items():
                before = tuple(getattr(module, own).shape)
                if shape not in (before, follow.get(own)):
                    changes[own] = before, shape
            if changes:
                layers[name] = changes
        return cls(layers)

    @classmethod
    def from_config(cls, spec: Any) -> 'WidthTable':
        """The table that :meth:`to_config` has written.

        Raises:
            ValueError: It is of another version, or none at all.
        """
        if not isinstance(spec, Mapping) or 'version' not in spec:
            raise ValueError(
                'channels must be the table that tools/prune.py writes, '
                f'dict(version={_VERSION}, layers=…), got {_short(spec)}'
            )
        check_version(
            spec['version'],
            _VERSION,
            'the table of channels is',
            'build the network with the version of epsd_mm that wrote the '
            'table, or prune anew',
        )
        layers = spec.get('layers')
        if set(spec) != {'version', 'layers'} or not _is_table(layers):
            raise ValueError(
                'the table of channels is damaged: it has a version, and '
                'layers, of each a dict from what changes to [before, '
                'after]: take the one that tools/prune.py wrote'
            )
        return cls(
            {
                name: {n: (_value(b), _value(a)) for n, (b, a) in of.items()}
                for name, of in layers.items()
            }
        )

    def to_config(self) -> dict[str, Any]:
        """Plain values, for a config."""
        layers = {
            name: {n: [_plain(b), _plain(a)] for n, (b, a) in of.items()}
            for name, of in self.layers.items()
        }
        return dict(version=_VERSION, layers=layers)

    def then(self, other: 'WidthTable') -> 'WidthTable':
        """The table of what this one and then another make of a network."""
        layers = {name: dict(changes) for name, changes in self.layers.items()}
        for name, changes in other.layers.items():
            own = layers.setdefault(name, {})
            for attribute, (before, after) in changes.items():
                first, _ = own.get(attribute, (before, after))
                own[attribute] = first, after
        return WidthTable(layers)

    def apply(self, model: nn.Module) -> None:
        """Make a network narrow, in place.

        Of each tensor the first entries stay: which ones are right is for a
        checkpoint to say.

        Raises:
            ValueError: The table is of another network, which stays as it
                is then.
        """
        self.check_fits(model)
        tensors = dict(model.named_parameters())
        tensors.update(model.named_buffers())
        first = {
            name: tensors[name].detach()[tuple(map(slice, shape))].clone()
            for name, shape in self._shapes(model).items()
        }
        replace_tensors(model, first)
        self.set_attributes(model)

    def set_attributes(self, model: nn.Module) -> None:
        """Let modules know of their widths, which their tensors have."""
        for name, changes in self.layers.items():
            module = model.get_submodule(name)
            for attribute, (_, after) in changes.items():
                if isinstance(after, int):
                    setattr(module, attribute, after)

    def check_fits(self, model: nn.Module) -> None:
        """Raise unless it is of this network, as it is before.

        Raises:
            ValueError: Names what is different.
        """
        modules = dict(model.named_modules())
        for name, changes in self.layers.items():
            if name not in modules:
                raise ValueError(f'{_NO_FIT}: it has no layer {name!r}')
            for attribute, (before, after) in changes.items():
                found = getattr(modules[name], attribute, None)
                if isinstance(found, Tensor):
                    found = tuple(found.shape)
                if found != before:
                    raise ValueError(
                        f'{_NO_FIT}: {name}.{attribute} is {found} there, '
                        f'and {before} in the table'
                    )
                if not _is_narrower(after, before):
                    raise ValueError(
                        f'the table of channels is damaged: '
                        f'{name}.{attribute} of {before} cannot become '
                        f'{after}: take the one that tools/prune.py wrote'
                    )

    def _shapes(self, model: nn.Module) -> dict[str, Shape]:
        """New ones of the tensors that change, by name."""
        found = {}
        for layer, changes in self.layers.items():
            module = model.get_submodule(layer)
            after = {n: value for n, (_, value) in changes.items()}
            shapes = layer_shapes(module, after)
            shapes |= {n: v for n, v in after.items() if isinstance(v, tuple)}
            for name, shape in shapes.items():
                if getattr(module, name).shape != shape:
                    found[f'{layer}.{name}' if layer else name] = shape
        return found


_NO_FIT = (
    'the table of channels does not fit the model (is the rest of its config '
    'as it was when it was pruned?)'
)


def replace_tensors(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Let parameters and buffers be new ones, wherever they are shared.

    They are not given other data: autograd would remember the shape of a
    parameter for as long as anything holds an old graph.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    new = {id(tensors[n]): _like(tensors[n], v) for n, v in values.items()}
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                own[name] = new.get(id(tensor), tensor)


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        values = nn.Parameter(values, tensor.requires_grad)
    vars(values).update(vars(tensor))  # what others have noted there
    return values


def _is_table(layers: Any) -> bool:
    return isinstance(layers, Mapping) and all(
        isinstance(changes, Mapping) and all(map(_is_change, changes.values()))
        for changes in layers.values()
    )


def _is_change(change: Any) -> bool:
    if not isinstance(change, (list, tuple)) or len(change) != 2:
        return False
    before, after = map(_plain, change)
    return type(before) is type(after) and all(
        type(size) is int and size >= 0
        for value in (before, after)
        for size in (value if isinstance(value, list) else [value])
    )


def _is_narrower(after: int | Shape, before: int | Shape) -> bool:
    after, before = (
        value if isinstance(value, tuple) else (value,)
        for value in (after, before)
    )
    return len(after) == len(before) and all(
        0 < a <= b for a, b in zip(after, before)
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + '…'
