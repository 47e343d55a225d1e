"""Widths that modules write down beside their layers, and use in ``view``."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from .groups import Group, Width


class Repeated(NamedTuple):
    """A group, and attributes that may say its width once more.

    Attributes:
        group: Of all groups whose widths one attribute says.
        names: Theirs.
        attributes: By their paths.
    """

    group: Group
    names: list[str]
    attributes: dict[str, Width]


def repeated(model: nn.Module, groups: Iterable[Group]) -> list[Repeated]:
    """Attributes that have the width of a group, from around its layers.

    Groups that have one in common become one: a number is one width.

    Args:
        model: Their network.
        groups: Some that cannot be cut if no attribute changes.

    Returns:
        Those that have any. Whether their attributes are widths has to be
        tried.
    """
    found: list[Repeated] = []
    for group in groups:
        one = Repeated(group, [group.name], _equal(model, group))
        for other in [*found]:
            if one.attributes.keys() & other.attributes.keys():
                found.remove(other)
                one = _joined(other, one)
        if one.attributes:
            found.append(one)
    return [one for one in found if _same_units(one.group)]


def _equal(model: nn.Module, group: Group) -> dict[str, Width]:
    """Integers of the modules around a group that are equal to its width."""
    tensors: Mapping[str, torch.Tensor] = {
        **dict(model.named_parameters()),
        **dict(model.named_buffers()),
    }
    sizes: dict[int, Width] = {}
    for member in group.members:
        size = tensors[member.name].shape[member.axis]
        sizes.setdefault(size, Width(member.name, member.axis))
    return {
        f'{name}.{attribute}' if name else attribute: sizes[value]
        for name in _around(group)
        for attribute, value in vars(model.get_submodule(name)).items()
        if type(value) is int and value > 1 and value in sizes
    }


def _around(group: Group) -> list[str]:
    """Modules from the first that has all layers of a group down to them."""
    paths = [member.layer.split('.')[:-1] for member in group.members]
    depth = 0
    while all(len(p) > depth and p[depth] == paths[0][depth] for p in paths):
        depth += 1
    around = {
        '.'.join(path[:end])
        for path in paths
        for end in range(depth, len(path) + 1)
    }
    return sorted(around)


def _joined(one: Repeated, other: Repeated) -> Repeated:
    members = one.group.members + other.group.members
    units = min(one.group.units, other.group.units)
    if any(len(member.index) != units for member in members):
        members, units = (), 0
    group = Group(one.group.name, units, members)
    attributes = {**one.attributes, **other.attributes}
    return Repeated(group, one.names + other.names, attributes)


def _same_units(group: Group) -> bool:
    return bool(group.members)
