"""How sparse a model is, measured from its weights.

All weights of a model are its parameters: frozen ones, biases and
normalisation too. What is sparse of them are zeros where weights can be
removed; a bias that starts at zero is no sparsity.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from epsd_mm.pruning.layers import layer_weights
from epsd_mm.tables import text_table

#: Number of weights kept and of all weights.
Counts = tuple[int, int]


def layer_sparsity(model: nn.Module) -> dict[str, Counts]:
    """Count the weights of convolution and linear layers.

    Every such layer counts, whether it was prunable or not. A layer that
    appears under several names counts once.

    Args:
        model: The network.

    Returns:
        Number of weights that are not zero and of all weights, by layer.
    """
    layers = {}
    for name, module in model.named_modules():
        if weights := layer_weights(module):
            kept = sum(int(w.count_nonzero()) for w in weights)
            layers[name] = kept, sum(w.numel() for w in weights)
    return layers


def network_sparsity(model: nn.Module) -> float:
    """Share of the weights of :func:`layer_sparsity` that is zero."""
    return _sparsity(*_sums(layer_sparsity(model)))


def kept_weights(
    model: nn.Module, names: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """Which weights are not zero, by parameter name.

    Args:
        model: The network.
        names: The parameters, as far as the network has them; by default
            those of convolution and linear layers.

    Returns:
        Bool tensors in the shapes of the parameters, such as masks.
    """
    params = dict(model.named_parameters())
    if names is None:
        weights = {w for m in model.modules() for w in layer_weights(m)}
        names = [name for name, param in params.items() if param in weights]
    return {n: params[n].detach() != 0 for n in names if n in params}


def sparsity_of_all(model: nn.Module, masks: Mapping[str, Tensor]) -> dict:
    """What is removed of all weights of a model and of its parts.

    Args:
        model: The network.
        masks: Which weights are kept, by parameter name; all of those that
            have none.

    Returns:
        ``kept``, ``total`` and ``sparsity``, and in ``parts`` the same of
        each child of the model, such as ``backbone``.
    """
    parts: dict[str, Counts] = {}
    for name, param in model.named_parameters():
        part = name.partition('.')[0]
        kept, total = parts.get(part, (0, 0))
        size = param.numel()
        kept += int(masks[name].sum()) if name in masks else size
        parts[part] = kept, total + size
    figures = {part: _figures(*counts) for part, counts in parts.items()}
    return _figures(*_sums(parts)) | dict(parts=figures)


def prunable_sparsity(
    model: nn.Module, names: Iterable[str] | None = None
) -> dict:
    """What is zero of the weights that can be removed, and of all.

    Args:
        model: The network.
        names: As of :func:`kept_weights`.

    Returns:
        ``kept``, ``total`` and ``sparsity``, and ``all_weights`` as
        :func:`sparsity_of_all` has them.
    """
    masks = kept_weights(model, names)
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    everything = sparsity_of_all(model, masks)
    return _figures(kept, total) | dict(all_weights=everything)


def sparsity_text(
    kept: int, total: int, everything: Mapping, what: str = 'prunable weights'
) -> str:
    """Sparsity over what can be removed, and over all, in one line.

    Args:
        kept: Number of weights kept of those that can be removed.
        total: Number of those that can be removed.
        everything: Of all weights, see :func:`sparsity_of_all`.
        what: What can be removed.
    """
    return (
        f'sparsity {_sparsity(kept, total):.4f} of {total:,} {what}, '
        f'{everything["sparsity"]:.4f} of all {everything["total"]:,} weights'
    )


def part_sparsity_table(everything: Mapping, width: int = 100) -> str:
    """A table of what :func:`sparsity_of_all` gives, as text."""

    def row(name: str, of: Mapping) -> list[str]:
        cells = f'{of["total"]:,}', f'{of["kept"]:,}', f'{of["sparsity"]:.4f}'
        return [name, *cells]

    return text_table(
        'Of all weights, by part',
        ['part', 'all weights', 'kept', 'sparsity'],
        [row(part, figures) for part, figures in everything['parts'].items()],
        total=row('all', everything),
        width=width,
    )


def sparsity_table(
    model: nn.Module, names: Iterable[str] | None = None, width: int = 100
) -> str:
    """Zeros by layer, over what can be removed and over all, as text.

    Args:
        model: The network.
        names: Parameters that were prunable; by default the weights of
            convolution and linear layers.
        width: Width in characters.
    """
    found = prunable_sparsity(model, names)
    everything = found['all_weights']
    what = 'prunable weights'
    if names is None:
        what = 'weights of convolution and linear layers'
    return (
        density_table(
            'Weights that are not zero', layer_sparsity(model), width
        )
        + part_sparsity_table(everything, width)
        + sparsity_text(found['kept'], found['total'], everything, what)
    )


def density_table(
    title: str, layers: Mapping[str, Counts], width: int = 100
) -> str:
    """A table of kept and all weights by layer, with the sum, as text.

    Args:
        title: Its title.
        layers: Number of weights kept and of all weights, by layer.
        width: Width in characters.
    """
    return text_table(
        title,
        ['layer', 'kept', 'total', 'density'],
        [[name, *_cells(*counts)] for name, counts in layers.items()],
        total=['all', *_cells(*_sums(layers))],
        width=width,
    )


def _sums(layers: Mapping[str, Counts]) -> Counts:
    counts = layers.values()
    return sum(kept for kept, _ in counts), sum(total for _, total in counts)


def _cells(kept: int, total: int) -> tuple[str, str, str]:
    return f'{kept:,}', f'{total:,}', f'{kept / max(total, 1):.4f}'


def _figures(kept: int, total: int) -> dict:
    return dict(kept=kept, total=total, sparsity=_sparsity(kept, total))


def _sparsity(kept: int, total: int) -> float:
    return 1 - kept / total if total else 0.0
