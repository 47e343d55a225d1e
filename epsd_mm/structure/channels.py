"""Channels: which units of a network are kept."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from epsd_mm.pruning import Masks
from epsd_mm.versions import check_version

from .groups import Groups

_VERSION = 1


class Channels(Masks):
    """A read-only mapping from the name of a group to a bool per unit.

    What :class:`~epsd_mm.pruning.Masks` are for single weights, these are
    for units: ``True`` keeps a unit, ``False`` removes it from all layers of
    its group. Which weights that are is for :meth:`masks` to say.

    Args:
        kept: One bool tensor of shape (units,) per name of a group.

    Raises:
        TypeError: An entry is not a bool tensor.
        ValueError: There is no entry at all, or one that is no row.
    """

    _things = 'groups'
    _key = 'channels'

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        super().__init__(kept)
        for name, row in self.items():
            if row.dim() != 1:
                raise ValueError(
                    f'the units of {name!r} have the shape '
                    f'{tuple(row.shape)}: they are one row, (units,), a bool '
                    'for each; masks of weights are Masks'
                )

    @classmethod
    def all_of(cls, groups: Groups) -> 'Channels':
        """Channels that keep every unit."""
        return cls(
            {
                name: torch.ones(group.units, dtype=torch.bool)
                for name, group in groups.items()
            }
        )

    def masks(self, groups: Groups, params: Mapping[str, Tensor]) -> Masks:
        """What goes with the removed units, of every member of a group.

        Weights of the layers that produce a unit and that read it, and what
        follows: biases, and scales and shifts of normalisation. At zero,
        they let the unit emit exactly zero.

        Args:
            groups: Of the network.
            params: The parameters that get a mask, by name; members that
                are not among them, such as running statistics, get none.

        Raises:
            ValueError: These are the channels of another network, or no
                group has one of the parameters.
        """
        self.check_groups(groups)
        masks: dict[str, Tensor] = {}
        for name, group in groups.items():
            for member in group.members:
                if member.name not in params:
                    continue
                shape = params[member.name].shape
                mask = masks.setdefault(
                    member.name, torch.ones(shape, dtype=torch.bool)
                )
                gone = member.index[~self[name]].flatten()
                mask.index_fill_(member.axis, gone, False)
        return Masks({name: masks[name] for name in params if name in masks})

    def in_all(self, groups: Groups) -> 'Channels':
        """The same, and every unit of the groups that are left out."""
        return Channels({**Channels.all_of(groups), **self})

    def check_fits(
        self, params: Mapping[str, Tensor], partly: bool = False
    ) -> None:
        """Raise unless these are channels of the same groups.

        Raises:
            ValueError: They are others, or weights, which a channel is not.
        """
        if not isinstance(params, Channels):
            raise ValueError(
                f'these are channels, of {len(self)} groups, and no masks of '
                'weights: take channels.masks(groups, '
                'dict(model.named_parameters())), or cut them out of the '
                'model with shrink(model, groups, channels)'
            )
        super().check_fits(params, partly)

    def check_groups(self, groups: Groups) -> None:
        """Raise unless names and numbers of units are those of ``groups``.

        Raises:
            ValueError: Names every group that differs.
        """
        wrong = [
            f'{name}: {len(self[name])} units, the network has '
            f'{groups[name].units}'
            for name in self
            if name in groups and len(self[name]) != groups[name].units
        ]
        wrong += [f'{n}: no such group' for n in self.keys() - groups.keys()]
        wrong += [f'{n}: no channels' for n in groups.keys() - self.keys()]
        if wrong:
            raise ValueError(
                'the channels do not fit the model (was it built from the '
                'same config, and grouped by the same versions?): '
                + '; '.join(sorted(wrong))
            )

    def pack(self) -> dict[str, Any]:
        """Eight units a byte, with a version and a digest.

        The result survives ``torch.save`` and
        ``torch.load(weights_only=True)``; :meth:`unpack` inverts it.
        """
        return dict(version=_VERSION, channels=super().pack())

    def _stored(self) -> dict[str, Any]:
        return self.pack()

    @staticmethod
    def _looks_packed(saved: Mapping) -> bool:
        return 'channels' in saved

    @classmethod
    def unpack(cls, packed: Any) -> 'Channels':
        """Channels from what :meth:`pack` returned.

        Raises:
            ValueError: They are of a version that is not known here, or
                damaged.
        """
        if not isinstance(packed, Mapping) or 'channels' not in packed:
            raise ValueError(
                'the packed channels are damaged: there are none. Take what '
                'Channels.pack() returned'
            )
        remedy = 'read them with the version of epsd_mm that wrote them'
        check_version(
            packed.get('version'), _VERSION, 'the packed channels are', remedy
        )
        return super().unpack(packed['channels'])
