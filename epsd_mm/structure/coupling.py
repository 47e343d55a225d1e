"""From wires between layers to groups of coupled channels."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from epsd_mm.pruning.stored import UncallableError, changes_to_weights

from .groups import Group, Groups, Member, Role, Width
from .heads import Attention, attentions
from .sides import is_convolution, sides
from .wiring import Space, Wiring

#: Why a layer stays as it is, whatever becomes of what it reads.
UNSEEN = 'the graph sees no call of it'
_LAST = 'its outputs are those of the network'

_NORMS = (_NormBase, nn.GroupNorm)


class _Place(NamedTuple):
    """An axis of a parameter or buffer, and the space of its channels."""

    name: str
    axis: int
    role: Role
    normalised: bool
    space: int


def coupled_groups(
    model: nn.Module,
    wiring: Wiring,
    attributes: Mapping[str, Width] | None = None,
) -> Groups:
    """Join the channels that must go together.

    Those are the two ends of a wire, the channels of one group of a grouped
    convolution or of group normalisation, those of one attention head, and
    those of one weight that several layers share.

    Args:
        model: The network.
        wiring: Of its channels.
        attributes: See :class:`Groups`.

    Returns:
        What the wires say, in the order of the model. It has not been tried.
    """
    heads = attentions(model)
    wiring = _without_inside(wiring, heads)
    places = _places(model, wiring, heads)
    channels = _Channels(wiring.spaces)
    for wire in wiring.wires:
        channels.join(wire.source, wire.target, *wire.pairs.T)
    _join_grouped_layers(channels, wiring.spaces)
    _join_heads(channels, wiring.spaces, heads)
    _join_shared_weights(channels, places)
    labels = channels.labels()
    reasons = _reasons(wiring, labels)
    groups, whole = _collected(places, labels, reasons)
    return Groups(groups, {**whole, **_unused(model, places)}, attributes)


class _Channels:
    """Channels of all spaces, and which of them go together."""

    def __init__(self, spaces: list[Space]) -> None:
        self._sizes = [space.size for space in spaces]
        self._starts = torch.tensor([0, *self._sizes]).cumsum(0).tolist()
        self._total = self._starts[-1]
        self._joined: list[Tensor] = []

    def join(self, one: int, other: int, here: Tensor, there: Tensor) -> None:
        """Channels ``here`` of a space with those ``there`` of another."""
        ends = [here + self._starts[one], there + self._starts[other]]
        self._joined.append(torch.stack(ends))

    def join_equal(self, keys: Mapping[int, Tensor]) -> None:
        """Channels that have equal numbers, given by space."""
        for space, numbers in keys.items():
            channels = torch.arange(len(numbers)) + self._starts[space]
            self._joined.append(torch.stack([channels, numbers + self._total]))
        self._total += 1 + max(int(numbers.max()) for numbers in keys.values())

    def labels(self) -> list[list[int]]:
        """Of each space a number a channel, equal where they go together."""
        rows, columns = torch.cat(self._joined, dim=1).numpy()
        ones = torch.ones(len(rows), dtype=torch.int8).numpy()
        shape = (self._total, self._total)
        joined = coo_array((ones, (rows, columns)), shape=shape)
        _, labels = connected_components(joined, directed=False)
        return [
            labels[start : start + size].tolist()
            for start, size in zip(self._starts, self._sizes)
        ]


def _blocks(size: int, blocks: int) -> Tensor:
    """Of so many channels, in which of so many equal parts they are."""
    return torch.arange(size) // (size // blocks)


def _without_inside(wiring: Wiring, heads: Iterable[Attention]) -> Wiring:
    """Without the wires inside of attention, where heads go as a whole."""
    emitting = [layer for a in heads for layer in (a.values, *a.steering)]
    inside = {id(layer): 'emitted' for layer in emitting}
    inside |= {id(a.reader): 'read' for a in heads}
    inside |= {id(param): 'both' for a in heads for param in a.own}
    cut = {
        number
        for number, space in enumerate(wiring.spaces)
        if inside.get(id(space.of)) == space.side
    }
    wires = [w for w in wiring.wires if not {w.source, w.target} & cut]
    return Wiring(wiring.spaces, wires)


def _join_grouped_layers(channels: _Channels, spaces: list[Space]) -> None:
    for number, space in enumerate(spaces):
        layer = space.of
        if isinstance(layer, nn.GroupNorm):
            blocks = _blocks(space.size, layer.num_groups)
            channels.join_equal({number: blocks})
        elif is_convolution(layer) and layer.groups > 1:
            ends = [i for i, s in enumerate(spaces) if s.of is layer]
            if ends[0] == number:
                channels.join_equal(
                    {i: _blocks(spaces[i].size, layer.groups) for i in ends}
                )


def _join_heads(
    channels: _Channels, spaces: list[Space], heads: Iterable[Attention]
) -> None:
    ends = {(id(s.of), s.side): i for i, s in enumerate(spaces)}
    for attention in heads:
        number = attention.heads
        emitted = [(layer, 'emitted') for layer in attention.steering]
        others = [(param, 'both') for param in attention.own]
        keys = {}
        for of, side in [*emitted, *others, (attention.reader, 'read')]:
            end = ends.get((id(of), side))
            if end is not None and spaces[end].size % number == 0:
                keys[end] = _blocks(spaces[end].size, number)
        end = ends.get((id(attention.values), 'emitted'))
        if end is not None:
            parts = 3 if attention.packed else 1
            blocks = _blocks(spaces[end].size, parts * number)
            keys[end] = blocks % number
        if keys:
            channels.join_equal(keys)


def _join_shared_weights(
    channels: _Channels, places: Iterable[_Place]
) -> None:
    first: dict[tuple[str, int], int] = {}
    for place in places:
        one = first.setdefault((place.name, place.axis), place.space)
        if one != place.space:
            every = torch.arange(channels._sizes[one])
            channels.join(one, place.space, every, every)


def _places(
    model: nn.Module, wiring: Wiring, heads: Iterable[Attention]
) -> list[_Place]:
    """Of all layers of the wiring, in the order of the model."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    names = {id(tensor): name for name, tensor in tensors}
    order = {name: i for i, name in enumerate(_in_order(model))}
    places = []
    steering = {id(layer) for a in heads for layer in a.steering}
    leaving = defaultdict(list)
    for wire in wiring.wires:
        leaving[wire.source].append(wire.target)
    for number, space in enumerate(wiring.spaces):
        if isinstance(space.of, nn.Parameter):
            name = names[id(space.of)]
            places.append(_Place(name, space.axis, 'consumer', False, number))
        elif space.of is not None:
            read, emitted = sides(space.of)
            axes = dict(read=read, emitted=emitted, both=read + emitted)
            normalised = _is_normalised(wiring.spaces, leaving, number)
            for tensor, axis, role in axes[space.side]:
                name = names[id(getattr(space.of, tensor))]
                if id(space.of) in steering:  # emits no values of a head
                    role = 'consumer'
                before = role == 'producer' and normalised
                places.append(_Place(name, axis, role, before, number))
    return sorted(places, key=lambda place: order[place.name])


def _in_order(model: nn.Module) -> list[str]:
    """Names of parameters and buffers, layer by layer."""
    return [
        name
        for prefix, module in model.named_modules()
        for own in (module.named_parameters, module.named_buffers)
        for name, _ in own(prefix, recurse=False)
    ]


def _is_normalised(
    spaces: list[Space], leaving: Mapping[int, list[int]], start: int
) -> bool:
    """Whether what a space emits goes through norms, and nowhere else."""
    waiting, seen = [start], {start}
    norms = 0
    while waiting:
        for target in leaving[waiting.pop()]:
            if target in seen:
                continue
            seen.add(target)
            space = spaces[target]
            if isinstance(space.of, _NORMS):
                norms += 1
            elif space.of is None and not space.output:
                waiting.append(target)
            else:
                return False
    return norms > 0


def _reasons(wiring: Wiring, labels: list[list[int]]) -> dict[int, str]:
    """Why channels stay whole, by their label; the first reason counts."""
    reasons: dict[int, str] = {}
    for space, own in zip(wiring.spaces, labels):
        if space.output:
            reasons |= dict.fromkeys(own, _LAST)
    for space, own in zip(wiring.spaces, labels):
        reason = _reason_of(space.of)
        if space.side == 'read' and not reason:
            reason = _changed_by(space.of)
        if reason:
            reasons = dict.fromkeys(own, reason) | reasons
    for wire in wiring.wires:
        lost = [labels[wire.source][i] for i in wire.lost.tolist()]
        reason = 'the graph loses its channels on their way'
        reasons = dict.fromkeys(lost, reason) | reasons
    return reasons


def _reason_of(layer: nn.Module | nn.Parameter | None) -> str:
    """Why channels that reach a layer stay whole; empty if they need not."""
    if layer is None or isinstance(layer, nn.Parameter):
        return ''
    kind = type(layer).__name__
    if isinstance(layer, nn.LayerNorm):
        return f'{kind} normalises its channels together'
    if isinstance(layer, nn.MultiheadAttention):
        return f'{kind} packs its projections'
    if isinstance(layer, _NORMS) and not layer.affine:
        return f'{kind} has no scale by which a channel could be zero'
    if not any(sides(layer)) and any(True for _ in layer.parameters()):
        return f'{kind} reads its channels'
    return ''


def _changed_by(layer: nn.Module) -> str:
    """Why its inputs stay whole: its weights have a common mean, say.

    The trial would find out, group by group.
    """
    if not isinstance(layer, (nn.Linear, _ConvNd)):
        return ''
    try:
        operators = changes_to_weights(layer)
    except UncallableError:
        return ''
    if not operators:
        return ''
    kind = type(layer).__name__
    return f'{kind} changes its weights by {", ".join(operators)}'


def _collected(
    places: Iterable[_Place],
    labels: list[list[int]],
    reasons: Mapping[int, str],
) -> tuple[list[Group], dict[str, str]]:
    """Units of equal members as groups, and the other producers."""
    units: dict[int, dict[_Place, list[int]]] = {}
    for place in _once(places):
        for position, label in enumerate(labels[place.space]):
            unit = units.setdefault(label, {})
            unit.setdefault(place, []).append(position)
    alike: dict[tuple, list[dict[_Place, list[int]]]] = {}
    whole: dict[str, str] = {}
    for label, unit in units.items():
        roles = {place.role for place in unit}
        if 'producer' not in roles:
            continue  # the inputs of the network
        reason = reasons.get(label)
        if reason is None and 'consumer' not in roles:
            reason = 'nothing that the graph knows reads its outputs'
        if reason is None:
            kind = tuple((place, len(at)) for place, at in unit.items())
            alike.setdefault(kind, []).append(unit)
        else:
            for place in unit:
                if place.role == 'producer':
                    whole.setdefault(place.name.rpartition('.')[0], reason)
    return [_group(units, labels) for units in alike.values()], whole


def _once(places: Iterable[_Place]) -> list[_Place]:
    """Of a tensor that several layers share, one place an axis."""
    return [*{(p.name, p.axis): p for p in reversed([*places])}.values()][::-1]


def _group(
    units: list[dict[_Place, list[int]]], labels: list[list[int]]
) -> Group:
    first = next(place for place in units[0] if place.role == 'producer')
    name = first.name.rpartition('.')[0]
    size = len(labels[first.space])
    if sum(len(unit[first]) for unit in units) < size:
        name += f'[{units[0][first][0]}]'
    return Group(
        name,
        len(units),
        tuple(
            Member(
                place.name,
                place.axis,
                place.role,
                torch.tensor([unit[place] for unit in units]),
                place.normalised,
            )
            for place in units[0]
        ),
    )


def _unused(model: nn.Module, places: Iterable[_Place]) -> dict[str, str]:
    """Layers that the graph does not know, and why it does not."""
    used = {place.name for place in places}
    found: dict[str, str] = {}
    packed = '-'
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            found[name] = _reason_of(module)
            packed = f'{name}.'
        elif any(axis.role == 'producer' for axis in sides(module).emitted):
            unknown = f'{name}.weight' not in used
            if unknown and not name.startswith(packed):
                found[name] = UNSEEN if name else _LAST
    return found
