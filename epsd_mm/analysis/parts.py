"""What the parts of a network weigh, compute and scored.

Multiply-adds are counted by weight, since masks are of weights;
``epsd_mm.structure.prices`` says why not by torch's counter.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from epsd_mm.pruning import Masks
from epsd_mm.structure.prices import multiplications
from epsd_mm.tables import text_table

try:
    from torch.backends import mha
except ImportError:  # before torch 2.3
    mha = None

#: What is known of a layer or a part, by its weight's name or its own.
Figures = Mapping[str, Mapping[str, float]]

_COLUMNS = {
    'total': ('weights', '{:,}'.format),
    'kept': ('kept', '{:,}'.format),
    'density': ('density', '{:.4f}'.format),
    'multiply_adds': ('multiply-adds', lambda n: f'{n / 1e6:,.1f} M'),
    'sparse_multiply_adds': ('of kept weights', lambda n: f'{n / 1e6:,.1f} M'),
    'mass': ('score mass', '{:.2%}'.format),
    'mass_kept': ('mass kept', '{:.2%}'.format),
}


def by_part(layers: Figures) -> dict[str, dict]:
    """Sums over the layers of each part of a network.

    A part is a child of the model: ``backbone``, ``neck``, ``rpn_head`` and
    ``roi_head`` of a two-stage detector, ``bbox_head`` of a dense one,
    ``head`` of a classifier. Parts come in the order of their first layers.

    Args:
        layers: What is known of each layer, by the name of its weight:
            ``kept`` and ``total``, and whatever else adds up.

    Returns:
        The sums by part, with ``density``, their ``kept / total``.
    """
    parts: dict[str, list] = {}
    for name, figures in layers.items():
        parts.setdefault(name.partition('.')[0], []).append(figures)
    return {part: summed(figures) for part, figures in parts.items()}


def summed(figures: Iterable[Mapping[str, float]]) -> dict:
    """The sums of figures of layers or parts, with their ``density``."""
    sums = Counter()
    for each in figures:
        sums.update(each)
    return dict(sums, density=sums['kept'] / sums['total'])


def layer_figures(
    model: nn.Module, inputs: Tensor, masks: Masks | None = None
) -> dict[str, dict]:
    """What each convolution and linear layer weighs and computes.

    Args:
        model: The network, in evaluation mode.
        inputs: What it is called with, batch first.
        masks: Which weights are kept; all of a layer that has none.

    Returns:
        By the name of its weight, ``kept`` and ``total`` weights,
        ``multiply_adds`` (:func:`multiply_adds`), and
        ``sparse_multiply_adds``: those of the kept weights. As each weight
        of a layer is used equally often, they are the former times
        ``kept / total``.

    Raises:
        ValueError: The masks do not fit the model.
    """
    params = dict(model.named_parameters())
    masks = masks or {}
    if masks:
        masks.check_fits(params, partly=True)
    layers = {}
    for name, done in multiply_adds(model, inputs).items():
        total = params[name].numel()
        kept = int(masks[name].sum()) if name in masks else total
        layers[name] = dict(
            kept=kept,
            total=total,
            density=kept / total,
            multiply_adds=done,
            sparse_multiply_adds=done * kept / total,
        )
    return layers


def multiply_adds(model: nn.Module, inputs: Tensor) -> dict[str, float]:
    """Multiply-adds of a forward pass, by the name of the weight.

    Counted is each product of a weight of a convolution or linear layer
    with an input, also with one that pads. A layer that is called several
    times, as a head that several levels share, counts each time. Biases,
    normalisation, pooling and products of activations with each other
    count nothing. A weight that a module never multiplies by has 0.

    Args:
        model: The network, in evaluation mode.
        inputs: What it is called with, batch first.
    """
    sizes = {name: param.numel() for name, param in model.named_parameters()}
    with _nothing_fused():
        times = multiplications(model, lambda: model(inputs))
    return {name: number * sizes[name] for name, number in times.items()}


@contextmanager
def _nothing_fused() -> Iterator[None]:
    """Let attention call its layers, which one operator would hide."""
    if mha is None:
        # Nothing can forbid it, but no layer is fused that gradients reach.
        with torch.enable_grad():
            yield
        return
    fused = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        mha.set_fastpath_enabled(fused)


def part_table(title: str, layers: Figures, width: int = 100) -> str:
    """A table of the parts and of their sum, as text.

    Args:
        title: Its title.
        layers: What is known of each layer, see :func:`by_part`.
        width: Width in characters.
    """
    parts = by_part(layers)
    everything = summed(parts.values())
    columns = {key: c for key, c in _COLUMNS.items() if key in everything}

    def row(name: str, figures: dict) -> list[str]:
        cells = (form(figures[key]) for key, (_, form) in columns.items())
        return [name, *cells]

    return text_table(
        title,
        ['part', *(heading for heading, _ in columns.values())],
        [row(name, figures) for name, figures in parts.items()],
        total=row('all', everything),
        width=width,
    )
