"""Cut removed units out of a network."""

from collections import defaultdict

import torch
from torch import Tensor, nn

from epsd_mm.structure import Channels, Groups

from .width_table import WidthTable, replace_tensors


@torch.no_grad()
def shrink(model: nn.Module, groups: Groups, channels: Channels) -> WidthTable:
    """Cut units out of all layers that have a part in them, in place.

    What is left computes what the whole network does where the entries of
    those units are zero: the same outputs and losses but for rounding, and
    the same steps of training. Dropout on narrower features is the
    exception: it draws other random numbers.

    Its narrower parameters are new ones. Optimizers are not touched: make
    them afterwards.

    Example:
        >>> import torch
        >>> from epsd_mm.structure import find_groups
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
        >>> groups = find_groups(model, torch.rand(1, 3, 16, 16))
        >>> every_second = torch.tensor([True, False] * 4)
        >>> table = shrink(model, groups, Channels({'0': every_second}))
        >>> model[1]
        Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1))

    Args:
        model: The network, unwrapped, on any device.
        groups: Its units.
        channels: Which of them are kept.

    Returns:
        The widths before and after, which make a fresh network of the same
        kind as narrow.

    Raises:
        TypeError: These are no channels.
        ValueError: The channels or groups are of another network, such as
            this one before it was narrower, or none of a group is kept; the
            model stays as it is.
    """
    if not isinstance(channels, Channels):
        raise TypeError(
            f'{type(channels).__name__} are no Channels, which alone can be '
            "cut out: take those that prune(…, structure='channels', "
            'groups=groups) returns'
        )
    channels.check_groups(groups)
    for name, kept in channels.items():
        if not kept.any():
            raise ValueError(
                f'the channels keep none of the {len(kept)} units of '
                f'{name!r}, without which its layers are nothing: keep at '
                'least one'
            )
    groups.check_model(model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    narrow = {
        name: _without(tensors[name], gone)
        for name, gone in _gone(groups, channels).items()
    }
    shapes = {name: tensor.shape for name, tensor in narrow.items()}
    table = WidthTable.between(model, shapes, groups.attributes)
    replace_tensors(model, narrow)
    table.set_attributes(model)
    return table


def _gone(
    groups: Groups, channels: Channels
) -> dict[str, dict[int, list[Tensor]]]:
    """Positions that go from each axis of each tensor."""
    gone: dict[str, dict[int, list]] = defaultdict(lambda: defaultdict(list))
    for name, group in groups.items():
        removed = ~channels[name].cpu()
        if removed.any():
            for member in group.members:
                positions = member.index[removed].flatten()
                gone[member.name][member.axis].append(positions)
    return gone


def _without(tensor: Tensor, gone: dict[int, list[Tensor]]) -> Tensor:
    values = tensor.detach()
    for axis, positions in gone.items():
        kept = torch.ones(values.shape[axis], dtype=torch.bool)
        kept[torch.cat(positions)] = False
        kept = kept.nonzero().flatten().to(values.device)
        values = values.index_select(axis, kept)
    return values
