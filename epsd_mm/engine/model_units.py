"""The units of a model that may go, and what masks come of their channels."""

from collections.abc import Mapping

from torch import Tensor, nn

from epsd_mm.pruning import Masks, prunable_parameters
from epsd_mm.structure import Budget, Channels, Group, Groups, UnitScores
from epsd_mm.structure.scores import chosen, gated_members

from .settings import Settings


class ModelUnits:
    """The units of a model that settings let go.

    Args:
        model: The model, unwrapped; it stays as it is.
        settings: With :class:`~epsd_mm.structure.Units` as the structure.
        groups: All units that it has, where they are known; those of an mm
            model are found.

    Attributes:
        weights: The prunable weights, in a unit or not, by name: those that
            masks cover and sparsity counts.
        groups: The units, and why other channels stay.
        channels: Those in force, if there are some yet.
        followers: Masks of what follows from them: biases, scales, shifts.

    Raises:
        ValueError: Nothing is prunable, or the model cannot be traced.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        groups: Groups | None = None,
    ) -> None:
        self._settings = settings
        self.weights: Mapping[str, Tensor] = prunable_parameters(
            model, settings.include, settings.exclude
        )
        self._params = dict(model.named_parameters())
        self._gated = chosen(settings.criterion, settings.units.scores)
        self.channels: Channels | None = None
        self.followers: Masks | None = None
        if groups is None:
            groups = find_model_groups(model)
        self.groups = self._removable(groups, model)
        settings.units.check_found(self.groups, model)

    @property
    def criterion(self) -> UnitScores:
        """The criterion over units."""
        settings = self._settings
        return settings.units.criterion(settings.criterion, self.groups)

    def budget(self, prices: Mapping[str, float] | None = None) -> Budget:
        """What is asked of the channels.

        Args:
            prices: Of one entry of each weight, where other things than
                weights are counted.
        """
        settings = self._settings
        return settings.units.budget(
            self.groups,
            self.weights,
            settings.sparsity,
            settings.allocation,
            prices,
        )

    def take(self, channels: Channels) -> Masks:
        """Put channels in force; the masks of the prunable weights."""
        self.channels = channels
        masks, self.followers = self.masks(channels)
        return masks

    def resume(self, channels: Channels | None, masks: Masks) -> None:
        """Put those of a checkpoint in force, which has these masks too.

        Raises:
            ValueError: They do not belong together, or to this model.
        """
        remedy = 'take another checkpoint of that run'
        if channels is None:
            raise ValueError(
                'the checkpoint to resume has masks, but not the channels '
                f'that they were made of: {remedy}'
            )
        if self.take(channels) != masks:
            raise ValueError(
                'the channels of the checkpoint to resume are not those that '
                f'its masks were made of: {remedy}'
            )

    def masks(self, channels: Channels) -> tuple[Masks, Masks | None]:
        """Masks of the prunable weights, and of what follows them.

        Raises:
            ValueError: These are the channels of another model.
        """
        everything = channels.masks(self.groups, self._params)
        masks = {**Masks.ones_like(self.weights), **everything}
        emitted = {
            member.name
            for group in self.groups.values()
            for member in group.members
            if member.role in ('producer', 'norm')
        }
        followers = {
            name: mask
            for name, mask in everything.items()
            if name in emitted and name not in self.weights
        }
        return (
            Masks({name: masks[name] for name in self.weights}),
            Masks(followers) if followers else None,
        )

    def _removable(self, groups: Groups, model: nn.Module) -> Groups:
        """Without those whose layers are not to be pruned."""
        left, whole = [], dict(groups.whole)
        for group in groups.values():
            reason = self._settings.units.stays(group, model)
            if reason := reason or self._stays(group):
                whole |= dict.fromkeys(group.layers('producer'), reason)
            else:
                left.append(group)
        return Groups(left, whole, groups.attributes)

    def _stays(self, group: Group) -> str:
        """Why a group stays whole; empty for no reason."""
        for member in group.members:
            param = self._params.get(member.name)
            weight = param is not None and param.dim() > 1
            if weight and member.role == 'producer':
                if not param.requires_grad:
                    return 'together with frozen weights'
                if member.name not in self.weights:
                    return 'together with weights that are not prunable'
        if self._gated == 'gate':
            gated = [self._params.get(m.name) for m in gated_members(group)]
            if not any(p is not None and p.requires_grad for p in gated):
                return (
                    'because its scales and shifts are frozen, so that '
                    "nothing scores it (scores='mean' would)"
                )
        return ''


def find_model_groups(model: nn.Module) -> Groups:
    """The units of an mm model."""
    # What finds them is an extra, which pruning of weights does without.
    from epsd_mm.families import channel_groups

    return channel_groups(model)
