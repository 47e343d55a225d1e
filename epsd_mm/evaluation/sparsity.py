"""How sparse a model is, measured from its weights."""

import io
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from torch import nn

from epsd_mm.pruning.prunable import layer_weights


def layer_sparsity(model: nn.Module) -> dict[str, tuple[int, int]]:
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


def sparsity_table(model: nn.Module, width: int = 100) -> str:
    """A table of what ``layer_sparsity`` counts, and the total, as text."""
    layers = layer_sparsity(model)
    kept, total = _sums(layers)
    sparsity = 1 - kept / total if total else 0.0
    table = density_table('Weights that are not zero', layers, width)
    return table + f'sparsity {sparsity:.4f}'


def density_table(
    title: str, layers: Mapping[str, tuple[int, int]], width: int = 100
) -> str:
    """A table of kept and all weights by layer, with the sum, as text.

    Args:
        title: Its title.
        layers: Number of weights kept and of all weights, by layer.
        width: Width in characters.
    """
    table = Table(title=title)
    table.add_column('layer')
    for header in ('kept', 'total', 'density'):
        table.add_column(header, justify='right')
    for name, counts in layers.items():
        table.add_row(name, *_cells(*counts))
    table.add_section()
    table.add_row('all', *_cells(*_sums(layers)))
    text = io.StringIO()
    Console(width=width, file=text).print(table)
    return text.getvalue()


def _sums(layers: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    counts = layers.values()
    return sum(kept for kept, _ in counts), sum(total for _, total in counts)


def _cells(kept: int, total: int) -> tuple[str, str, str]:
    return f'{kept:,}', f'{total:,}', f'{kept / max(total, 1):.4f}'
