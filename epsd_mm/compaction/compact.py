"""A compact network from a config: one that is built, then made narrow."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from epsd_mm.engine.safe_loading import CheckpointError
from epsd_mm.families import let_heads_go

from .width_table import WidthTable

#: Axes of tensors of a layer, by name.
_Axes = Mapping[str, list[int]]


@MODELS.register_module(name='Compact')
def compact(
    of: str,
    channels: Mapping[str, Any],
    init_cfg: Any = None,
    **config: Any,
) -> nn.Module:
    """Build a network without the channels that pruning has removed.

    It is a plain model of the class ``of``, with narrower layers: nothing
    wraps it. ``tools/prune.py`` writes such configs. Neither the graph of
    its channels nor torch-pruning is needed to build it.

    Example:
        >>> model = dict(
        ...     type='Compact',
        ...     of='RetinaNet',
        ...     channels=dict(
        ...         version=1,
        ...         layers={'backbone.conv1': dict(out_channels=[64, 32]), …}),
        ...     init_cfg=dict(type='Pretrained', checkpoint='init.pth'),
        ...     backbone=dict(type='ResNet', depth=50, …),
        ... )

    Args:
        of: Type of the network.
        channels: What :meth:`WidthTable.to_config` returns.
        init_cfg: Initialises the narrow network; without one its layers
            start as such layers do, not with a part of wider ones.
        config: Of the network before, as without ``Compact``.

    Raises:
        ValueError: The table is of another network, or of another version.
    """
    table = WidthTable.from_config(channels)
    model = MODELS.build(dict(type=of, **config))
    whole = {layer: _shapes(model, layer) for layer in table.layers}
    table.apply(model)
    if init_cfg is None:
        _start_afresh(model, table)
    let_heads_go(model)
    if init_cfg is not None:
        model.init_cfg = init_cfg
    for layer, before in whole.items():
        axes = _differing(before, _shapes(model, layer))
        if axes:
            model.get_submodule(layer)._register_load_state_dict_pre_hook(
                partial(_refuse_other_widths, axes), with_module=True
            )
    return model


def _start_afresh(model: nn.Module, table: WidthTable) -> None:
    """At their own widths, by which torch draws the first weights."""
    for name in table.layers:
        layer = model.get_submodule(name)
        if hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()


def _shapes(model: nn.Module, layer: str) -> dict[str, tuple]:
    return {n: tuple(t.shape) for n, t in _own(model.get_submodule(layer))}


def _own(layer: nn.Module) -> list[tuple[str, Tensor]]:
    tensors = {**layer._parameters, **layer._buffers}
    return [(name, t) for name, t in tensors.items() if t is not None]


def _differing(
    before: Mapping[str, tuple], after: Mapping[str, tuple]
) -> dict[str, list[int]]:
    axes = {
        name: [i for i, (b, a) in enumerate(zip(before[name], shape)) if b > a]
        for name, shape in after.items()
    }
    return {name: of for name, of in axes.items() if of}


def _refuse_other_widths(
    axes: _Axes,
    layer: nn.Module,
    state_dict: Mapping[str, Any],
    prefix: str,
    *unused: Any,
) -> None:
    """Where mmengine would warn, and leave the layer as it is.

    It does so for axes with another number of classes, and it may.
    """
    for name, tensor in _own(layer):
        saved = state_dict.get(prefix + name)
        if name not in axes or not isinstance(saved, Tensor):
            continue
        here, there = tuple(tensor.shape), tuple(saved.shape)
        if len(here) != len(there) or any(
            here[axis] != there[axis] for axis in axes[name]
        ):
            raise CheckpointError(
                f'{prefix}{name} has the shape {there} in the checkpoint and '
                f'{here} in this compact network: load a checkpoint of this '
                'network, such as the init.pth beside its config, or take '
                'the config that the checkpoint was made with'
            )
