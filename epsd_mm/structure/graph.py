"""Groups of the channels of a network, from torch-pruning's graph."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from .coupling import coupled_groups
from .groups import Groups, Width
from .heads import values_apart
from .training_branches import training_branches
from .trial import tried
from .wiring import wiring


def find_groups(
    model: nn.Module,
    example: Any,
    trace: Callable[[nn.Module, Any], Any] | None = None,
    attributes: Mapping[str, Width] | None = None,
) -> Groups:
    """Which channels, neurons and attention heads of a network go together.

    Residual sums, concatenations, grouped convolutions, flattened features,
    layers that are shared or called several times: what they couple is one
    group. Whole groups of group normalisation and whole heads of attention
    are units. What the network returns stays as it is, and so does what a
    removed unit would still change, for instance a width that layer
    normalisation averages over. That is tried: with random weights, the
    network without every second unit must return what it returns with zeros
    in their place. Branches that only training takes, such as auxiliary
    heads, are followed where the same call reaches them in training mode.

    Example:
        >>> import torch, torchvision
        >>> groups = find_groups(torchvision.models.resnet18(),
        ...                      torch.rand(1, 3, 64, 64))
        >>> print(groups['layer1.0.conv1'])
        layer1.0.conv1: 64 units
          produced by layer1.0.conv1
          scaled by layer1.0.bn1
          read by layer1.0.conv2

    Args:
        model: The network, on any device and in any mode; left as it was.
        example: Its input.
        trace: Called as ``trace(model, example)``, it returns the outputs
            that shall stay as they are, in tensors or containers of tensors.
            By default ``model(example)``.
        attributes: See :class:`Groups`.

    Raises:
        ImportError: torch-pruning is not installed.
        ValueError: The model cannot be traced.
    """

    def call(model: nn.Module) -> Any:
        return trace(model, example) if trace else model(example)

    wired = wiring(model, call)
    training = training_branches(model, call, wired)
    if training is not None:
        call = training
        wired = wiring(model, call)
    groups = coupled_groups(model, wired, attributes)
    return values_apart(tried(model, call, groups), model)
