"""Widths of a dense network that is as large, layer by layer, as a sparse one.

Park and No, *Prune Your Model Before Distill It*, ECCV 2022: the student of a
pruned teacher is as deep, and its layers have as many channels as gives them
the number of weights that the teacher's keep.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .channels import Channels
from .groups import Groups, Member


def student_channels(groups: Groups, kept: Mapping[str, Tensor]) -> Channels:
    """How many channels a dense student has, where its teacher is sparse.

    Group after group, in the order of the model: as many units as give the
    layers that produce them, at what they read of the student already, the
    weights that the teacher keeps of them; in whole units, at least one, at
    most as many as the teacher has. Where such a layer reads what is not
    settled yet, as in the blocks that write into a residual stream, stream
    and insides of the blocks keep the same share of their units, by which
    all of these layers together have the weights that the teacher keeps:
    our choice; the authors give each stage of a ResNet one width.

    Which units are kept, the first ones, has no meaning: a student starts
    from weights of its own.

    Example:
        >>> import torch
        >>> from epsd_mm.structure import find_groups, student_channels
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
        >>> groups = find_groups(model, torch.rand(1, 3, 16, 16))
        >>> kept = {'0.weight': torch.arange(8 * 27).view(8, 3, 3, 3) < 81}
        >>> student_channels(groups, kept)['0'].tolist().count(True)
        3

    Args:
        groups: Of the teacher.
        kept: Which entries it keeps of the weights of its layers, bool, by
            name of the parameter.

    Raises:
        ValueError: A group is produced by none of these weights.
    """
    widths = _Widths(groups, kept)
    for name in groups:
        if name not in widths.units:
            widths.settle(name)
    return Channels(
        {
            name: torch.arange(group.units) < widths.units[name]
            for name, group in groups.items()
        }
    )


class _Widths:
    """What is settled already.

    Attributes:
        units: By name of the group.
    """

    def __init__(self, groups: Groups, kept: Mapping[str, Tensor]) -> None:
        self.units: dict[str, int] = {}
        self._groups, self._kept = groups, kept
        self._members: dict[str, list[tuple[str, Member]]] = {}
        for name, group in groups.items():
            for member in group.members:
                of_name = self._members.setdefault(member.name, [])
                of_name.append((name, member))

    def settle(self, name: str) -> None:
        """Choose the units of a group, and of what is inside of it."""
        together = self._together(name)
        layers = [m for of in together for m in self._producers(of)]
        wanted = sum(int(self._rows(member).sum()) for member in layers)
        low, high = 0.0, 1.0
        for _ in range(60):  # the number of weights grows with the share
            share = (low + high) / 2
            shares = dict.fromkeys(together, share)
            if sum(self._entries(m, share, shares) for m in layers) < wanted:
                low = share
            else:
                high = share
        for of in together:
            units = self._groups[of].units
            self.units[of] = max(1, int(high * units + 0.5 + 1e-9))

    def _together(self, name: str) -> list[str]:
        """The group, and those that its layers read and none has settled."""
        found = [name]
        for of in found:
            for member in self._producers(of):
                for other in self._read_by(member):
                    if other not in found and other not in self.units:
                        found.append(other)
        return found

    def _producers(self, name: str) -> list[Member]:
        group = self._groups[name]
        found = [
            member
            for member in group.members
            if member.role == 'producer' and member.name in self._kept
        ]
        if not found:
            raise ValueError(
                f'no weights are given that produce {name!r}: give those of '
                f'{", ".join(group.layers("producer"))}'
            )
        return found

    def _read_by(self, member: Member) -> list[str]:
        others = self._members[member.name]
        return [of for of, other in others if other.axis != member.axis]

    def _rows(self, member: Member) -> Tensor:
        """What is kept of the part of a weight that produces a group."""
        mask = self._kept[member.name]
        return mask.index_select(member.axis, member.index.flatten())

    def _entries(
        self, member: Member, share: float, shares: Mapping[str, float]
    ) -> float:
        """Entries of that part in the student, at shares of open groups."""
        sizes = [float(size) for size in self._kept[member.name].shape]
        sizes[member.axis] = share * member.index.numel()
        for of, other in self._members[member.name]:
            if other.axis != member.axis:
                units = self._groups[of].units
                left = self.units.get(of, shares.get(of, 1.0) * units)
                sizes[other.axis] -= (units - left) * other.index.shape[1]
        return math.prod(sizes)
