"""Which weights of a network may be pruned."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

Patterns = Sequence[str] | None


def prunable_parameters(
    model: nn.Module, include: Patterns = None, exclude: Patterns = None
) -> dict[str, nn.Parameter]:
    """Weights of convolution and linear layers that require a gradient.

    Biases and normalisation layers are never prunable; frozen weights are
    not, because no gradient ranks them. A weight that several layers share
    appears once, under its first name.

    Args:
        model: The network.
        include: Shell-style patterns of parameter names, such as
            ``'backbone.*'``; only matching weights are prunable.
        exclude: Patterns of weights to leave dense.

    Returns:
        The parameters by name, in the model's own order.

    Raises:
        ValueError: A pattern matches no candidate, or nothing is left.
    """
    layers = (
        module.weight
        for module in model.modules()
        if isinstance(module, (_ConvNd, nn.Linear))
    )
    weights = {weight for weight in layers if weight.requires_grad}
    candidates = {
        name: param
        for name, param in model.named_parameters()
        if param in weights
    }
    kept = set(candidates)
    if include is not None:
        kept = _matching(candidates, include, 'include')
    if exclude is not None:
        kept -= _matching(candidates, exclude, 'exclude')
    if not kept:
        raise ValueError(
            f'nothing is prunable: of {len(candidates)} convolution and '
            'linear weights that require a gradient, none is left by '
            f'include={include} and exclude={exclude}'
        )
    return {name: p for name, p in candidates.items() if name in kept}


def _matching(
    names: dict[str, nn.Parameter], patterns: Sequence[str], option: str
) -> set[str]:
    if isinstance(patterns, str):
        raise TypeError(
            f'{option}={patterns!r} must be a list of patterns: '
            f'{option}=[{patterns!r}]'
        )
    matching = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(
                f'{option} pattern {pattern!r} matches no prunable weight; '
                'names look like ' + ', '.join(list(names)[:3])
            )
        matching |= found
    return matching
