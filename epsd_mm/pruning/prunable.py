"""Which weights of a network may be pruned."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

Patterns = Sequence[str] | None

#: Of attention either the first, or the others where queries, keys and
#: values differ in width; what is absent is None.
_PROJECTIONS = (
    'in_proj_weight',
    'q_proj_weight',
    'k_proj_weight',
    'v_proj_weight',
)


def layer_weights(module: nn.Module) -> list[nn.Parameter]:
    """Weights by which a module itself convolves or multiplies its inputs.

    One of a convolution or linear layer. ``nn.MultiheadAttention`` projects
    queries, keys and values without such layers: one matrix, or three.
    Of any other module none, whatever its parts are.
    """
    if isinstance(module, (_ConvNd, nn.Linear)):
        return [module.weight]
    if isinstance(module, nn.MultiheadAttention):
        weights = (getattr(module, name) for name in _PROJECTIONS)
        return [weight for weight in weights if weight is not None]
    return []


def prunable_parameters(
    model: nn.Module, include: Patterns = None, exclude: Patterns = None
) -> dict[str, nn.Parameter]:
    """Weights of convolution and linear layers that require a gradient.

    The projections of ``nn.MultiheadAttention`` are linear layers too.
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
    weights = {
        weight
        for module in model.modules()
        for weight in layer_weights(module)
        if weight.requires_grad
    }
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
