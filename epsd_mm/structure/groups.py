"""Groups: which channels of which layers stand or fall together."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Role = Literal['producer', 'norm', 'consumer', 'statistic']
_ROLES = ('producer', 'norm', 'consumer', 'statistic')


@dataclass(frozen=True, eq=False)
class Member:
    """One axis of one parameter or buffer, cut into the units of a group.

    Attributes:
        name: Of the parameter or buffer.
        axis: The axis that becomes shorter when units go.
        role: What happens to the entries of a unit that is removed. Those
            of a ``'producer'`` (weight or bias of a layer that emits the
            unit; also a depthwise convolution on its way) and of a
            ``'norm'`` (scale or shift after it) are zero, so that the unit
            emits exactly zero. Those of a ``'consumer'`` (a layer that
            reads the unit) act on nothing any more, and neither do those of
            a ``'statistic'``, a buffer such as a running mean.
        index: Positions on the axis, of shape (units, entries): row u has
            those of unit u. One entry for plain channels, 49 behind
            flattened 7x7 features, C/num_groups under group normalisation,
            the dimensions of a head in a layer of attention.
        normalised: Of a producer, whether a norm of the group follows before
            anything reads the unit: its size is then no matter, and only
            the norm's scale and shift say what the unit emits.

    Raises:
        ValueError: The index or the role is none.
    """

    name: str
    axis: int
    role: Role
    index: Tensor
    normalised: bool = False

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(
                f'{self.name!r} has the role {self.role!r}, not one of '
                + ', '.join(_ROLES)
            )
        index = self.index
        if index.dtype != torch.int64 or index.dim() != 2 or not len(index):
            raise ValueError(
                f'the index of {self.name!r} must have dtype int64 and shape '
                f'(units, entries), got {index.dtype} and '
                f'{tuple(index.shape)}'
            )
        if index.min() < 0 or len(index.unique()) < index.numel():
            raise ValueError(
                f'the index of {self.name!r} has a position twice, or a '
                'negative one: give each position of the axis to one unit'
            )

    @property
    def layer(self) -> str:
        """str: Name of the module that owns the parameter or buffer."""
        return self.name.rpartition('.')[0]


@dataclass(frozen=True, eq=False)
class Group:
    """Layers whose channels are coupled: what goes from one goes from all.

    Attributes:
        name: Of the first layer that produces the units. If that layer's
            outputs go different ways, the first position is added, as in
            ``'conv[32]'``.
        units: How many of them may be chosen one by one.
        members: In the order of the model.

    Raises:
        ValueError: A member has another number of units.
    """

    name: str
    units: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        for member in self.members:
            if len(member.index) != self.units:
                raise ValueError(
                    f'{member.name!r} has {len(member.index)} units and its '
                    f'group {self.name!r} {self.units}: the index of each '
                    'member has one row a unit'
                )

    def layers(self, role: Role) -> list[str]:
        """Names of the layers that have this role, in order, each once."""
        found = (m.layer for m in self.members if m.role == role)
        return list(dict.fromkeys(found))

    @property
    def channels(self) -> int:
        """int: How many channels of its first producer go with a unit."""
        return next(
            member.index.shape[1]
            for member in self.members
            if member.role == 'producer'
        )

    def __str__(self) -> str:
        size = f' of {self.channels} channels' if self.channels > 1 else ''
        lines = [f'{self.name}: {self.units} units{size}']
        words = dict(
            producer='produced by', norm='scaled by', consumer='read by'
        )
        for role, word in words.items():
            if layers := self.layers(role):
                lines.append(f'  {word} {", ".join(layers)}')
        return '\n'.join(lines)


class Width(NamedTuple):
    """An axis of a tensor whose size an attribute repeats.

    Attributes:
        tensor: Name of the parameter.
        axis: Which of its axes.
        share: How many positions of the axis are one channel.
    """

    tensor: str
    axis: int
    share: int = 1


class Groups(Mapping[str, Group]):
    """The groups of a model by name, and what stays whole.

    Args:
        groups: In the order of the model.
        whole: Why the outputs of a layer stay whole, by its name. A layer
            whose outputs go different ways may stay whole in part.
        attributes: Widths that modules without weights hold as a number, by
            the path of that attribute, such as ``'extractor.out_channels'``.

    Attributes:
        whole: The same.
        attributes: The same.

    Raises:
        ValueError: Two groups have one name, or claim the same position.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        whole: Mapping[str, str] | None = None,
        attributes: Mapping[str, Width] | None = None,
    ) -> None:
        self._groups: dict[str, Group] = {}
        self.whole = dict(whole or {})
        self.attributes = dict(attributes or {})
        claimed: dict[tuple[str, int], list[Tensor]] = {}
        for group in groups:
            if group.name in self._groups:
                raise ValueError(
                    f'two groups have the name {group.name!r}: choose others'
                )
            self._groups[group.name] = group
            for member in group.members:
                key = (member.name, member.axis)
                claimed.setdefault(key, []).append(member.index.flatten())
        for (name, axis), positions in claimed.items():
            values, counts = torch.cat(positions).unique(return_counts=True)
            if len(twice := values[counts > 1]):
                raise ValueError(
                    f'position {int(twice[0])} of axis {axis} of {name!r} is '
                    'of two units: what is coupled is one unit, so let one '
                    'have the members of both'
                )

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __str__(self) -> str:
        lines = [str(group) for group in self.values()]
        lines += [f'whole, {reason}' for reason in self.reasons()]
        return '\n'.join(lines)

    def reasons(self) -> list[str]:
        """Why layers stay whole, each reason once and its layers behind."""
        by_reason: dict[str, list[str]] = {}
        for layer, reason in self.whole.items():
            by_reason.setdefault(reason, []).append(layer or 'the model')
        return [
            f'{reason}: {", ".join(layers)}'
            for reason, layers in by_reason.items()
        ]

    def check_model(self, model: nn.Module) -> None:
        """Raise where these cannot be the groups of a model as it is.

        Raises:
            ValueError: Names a tensor that the model has not, or not as
                long.
        """
        tensors = {
            **dict(model.named_parameters(remove_duplicate=False)),
            **dict(model.named_buffers(remove_duplicate=False)),
        }
        for group in self.values():
            for member in group.members:
                if said := _misfit(member, tensors.get(member.name)):
                    raise ValueError(
                        f'the groups do not fit {type(model).__name__}: '
                        f'{member.name} of group {group.name!r} {said}. They '
                        'are of another model, or this one is narrower by '
                        'now: find its groups anew'
                    )


def _misfit(member: Member, tensor: Tensor | None) -> str:
    if tensor is None:
        return 'is not there'
    if tensor.dim() <= member.axis:
        return f'has the shape {tuple(tensor.shape)}'
    size, needed = tensor.shape[member.axis], int(member.index.max()) + 1
    if size >= needed:
        return ''
    return f'has {size} positions on axis {member.axis}, not {needed}'
