"""Neurons of MLPs, as what is kept together."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from .groups import Group, Groups
from .units import Units


@dataclass(frozen=True)
class Neurons(Units):
    """Hidden neurons of MLPs go as a whole, and nothing else goes.

    Those are units that linear layers emit and linear layers read, with no
    normalisation between them: of ViT, Swin and ConvNeXt the rows of the
    first linear layer of each block and the columns of the second.
    """

    kind: ClassVar[str] = 'neurons'

    def stays(self, group: Group, model: nn.Module) -> str:
        layers = group.layers('producer') + group.layers('consumer')
        linear = all(
            isinstance(model.get_submodule(layer), nn.Linear)
            for layer in layers
        )
        single = all(member.index.shape[1] == 1 for member in group.members)
        if linear and single and not group.layers('norm'):
            return ''
        return 'because it is no neuron of an MLP'

    def check_found(self, groups: Groups, model: nn.Module) -> None:
        if not groups:
            why = f' ({"; ".join(groups.reasons())})' if groups.whole else ''
            raise ValueError(
                "structure='neurons' removes neurons between two linear "
                f'layers of an MLP, and {type(model).__name__} has none that '
                f"may go{why}: take structure='channels', or exclude fewer "
                'layers'
            )
