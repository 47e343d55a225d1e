"""From scores to masks: the highest scores within an allocation."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from .allocation import (
    Allocation,
    ByGlob,
    Global,
    Layer,
    check_sparsity,
)
from .finite import is_finite
from .masks import Masks
from .structures import NM, LayerStructure, Shape, Weights

Scores = Mapping[str, Tensor]


def select(
    scores: Scores,
    sparsity: float,
    allocation: Allocation | None = None,
    structure: LayerStructure | None = None,
    within: Masks | None = None,
    exact: bool = True,
) -> Masks:
    """Keep the highest scores.

    Single weights: exactly ``round((1 - sparsity) * N)`` are kept. Larger
    units: as many as fit into that number. Among equal scores at the
    threshold, those of the layer whose name sorts first and of the lowest
    index are kept, on every device and in whatever order the layers come.

    Args:
        scores: Scores by parameter name, finite, in the model's order.
        sparsity: Fraction of the weights to remove, in [0, 1).
        allocation: How the kept weights are divided among the layers;
            by default all layers are ranked together.
        structure: What is kept together; single weights by default.
        within: Keep only weights that these masks keep; layers that stay
            dense must be whole there.
        exact: Otherwise, where ``within`` or a floor allow no such number,
            the nearest one is kept.

    Returns:
        The masks, in the order of ``scores``.

    Raises:
        ValueError: The sparsity is outside [0, 1) or cannot be reached,
            scores are not finite, a layer does not divide into the units
            of the structure, or allocation and structure contradict.
    """
    check_sparsity(sparsity)
    check_combination(allocation, structure)
    allocation, structure = allocation or Global(), structure or Weights()
    shapes = {name: tuple(s.shape) for name, s in scores.items()}
    dense = allocation.dense(shapes)
    ranked = comparable({n: s for n, s in scores.items() if n not in dense})
    if within is not None and not all(within[name].all() for name in dense):
        raise ValueError(
            f'{", ".join(dense)} must stay dense by the allocation, but '
            'earlier masks have removed weights of it: leave it out of '
            'those masks, or let the allocation not keep it dense'
        )
    if not ranked:
        raise ValueError(
            f'every layer is kept dense ({", ".join(dense)}), so that '
            'nothing can be removed: prune other layers too, or set '
            'dense_first and dense_last of the allocation to False'
        )
    if isinstance(structure, NM):
        chosen = {
            name: _n_of_m(name, s, structure, within)
            for name, s in ranked.items()
        }
        _check_n_of_m(chosen, shapes, sparsity, structure)
    else:
        chosen = _chosen(
            ranked, shapes, sparsity, allocation, structure, within, exact
        )
    return Masks(
        {
            name: chosen[name]
            if name in chosen
            else torch.ones(shape, dtype=torch.bool)
            for name, shape in shapes.items()
        }
    )


def certainly_empty(
    shapes: Mapping[str, Shape],
    sparsity: float,
    allocation: Allocation,
    structure: LayerStructure,
) -> list[str]:
    """Layers of which nothing is kept, whatever their scores are.

    That is where a layer has a share of its own, as ``'uniform'`` gives it,
    that rounds to no unit; and where all that layers keep together is less
    than a unit.

    Args:
        shapes: Of all weights, in the model's order.
        sparsity: One that can be reached.
        allocation: How the kept weights are divided.
        structure: What is kept together.
    """
    if isinstance(structure, NM):
        return []
    dense = allocation.dense(shapes)
    layers, counts, keep = _divided(
        [name for name in shapes if name not in dense],
        shapes,
        sparsity,
        allocation,
        structure,
    )
    most = {
        name: max(layer.lower, keep // layer.size)
        for name, layer in layers.items()
    }
    return [name for name, units in (most | counts).items() if not units]


def check_combination(
    allocation: Allocation | None, structure: LayerStructure | None
) -> None:
    """Raise where an allocation asks for what a structure does not leave.

    N:M settles the density of every layer, so that the allocations agree;
    a number that says otherwise cannot be met. On the way there it settles
    them too, whatever numbers have been reached.

    Raises:
        ValueError: Sparsities or a floor beside N:M are not its own.
    """
    if not isinstance(structure, NM) or structure.is_relaxed:
        return
    density, wrong = structure.n / structure.m, ''
    if isinstance(allocation, ByGlob):
        asked = allocation.sparsities.items()
        wrong = ', '.join(
            f'{name!r}: {s}'
            for name, s in asked
            if abs(1 - s - density) > 1e-9
        )
    elif allocation is not None and allocation.min_density > density:
        wrong = f'min_density={allocation.min_density}'
    if wrong:
        raise ValueError(
            f'{structure.n}:{structure.m} gives every layer density '
            f'{density}, so that {wrong} cannot be met: remove it, and name '
            'layers to leave dense in exclude=[...] or in '
            'allocation=dict(type="global", dense_first=True)'
        )


def _chosen(
    scores: Scores,
    shapes: dict,
    sparsity: float,
    allocation: Allocation,
    structure: LayerStructure,
    within: Masks | None,
    exact: bool,
) -> dict[str, Tensor]:
    """Masks of the layers that are ranked."""

    def pooled(name: str) -> Tensor:
        units = structure.pool(scores[name])
        if within is None or within[name].all():
            return units
        left = structure.pool(within[name].to(units.dtype)) > 0
        return units.masked_fill(~left, -math.inf)

    layers, counts, keep = _divided(
        scores, shapes, sparsity, allocation, structure, within, exact
    )
    together = {n: layer for n, layer in layers.items() if n not in counts}
    # Units hold no more than fits, so that less than one is left over.
    rest = max(layer.size for layer in layers.values()) - 1
    if exact:
        total = _total(shapes)
        _check_reachable(together, keep, sparsity, total, rest)
    keep = _within_bounds(together, keep)
    units = _ranked_together(pooled, together, keep)
    for name, count in counts.items():
        units[name] = top(pooled(name), count)
    return {
        name: structure.expand(units[name], shapes[name]) for name in scores
    }


def _divided(
    names: Iterable[str],
    shapes: Mapping[str, Shape],
    sparsity: float,
    allocation: Allocation,
    structure: LayerStructure,
    within: Masks | None = None,
    exact: bool = True,
) -> tuple[dict[str, Layer], dict[str, int], int]:
    """What an allocation settles, whatever the scores are.

    Returns:
        The layers of the names, the units of those that have a number of
        their own, and the weights that the others keep together.
    """
    layers = {
        name: _layer(name, shapes[name], allocation, structure, within)
        for name in names
    }
    total = _total(shapes)
    keep = round((1 - sparsity) * total)
    keep -= total - sum(layer.numel for layer in layers.values())
    if not exact:
        keep = _within_bounds(layers, keep)
    counts = allocation.counts(layers, keep)
    keep -= sum(n * layers[name].size for name, n in counts.items())
    return layers, counts, keep


def _total(shapes: Mapping[str, Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _layer(
    name: str,
    shape: tuple,
    allocation: Allocation,
    structure: LayerStructure,
    within: Masks | None,
) -> Layer:
    size = structure.unit_size(name, shape)
    left = math.prod(shape) if within is None else int(within[name].sum())
    # Rounding errors must not add a unit.
    floor = allocation.min_density * math.prod(shape) / size
    floor = math.ceil(floor - 1e-9)
    return Layer(shape, size, min(floor, left // size), left // size)


def _bounds(layers: Mapping[str, Layer]) -> tuple[int, int]:
    """Weights that the layers keep at least, and at most."""
    least = sum(layer.lower * layer.size for layer in layers.values())
    most = sum(layer.upper * layer.size for layer in layers.values())
    return least, most


def _within_bounds(layers: Mapping[str, Layer], keep: int) -> int:
    least, most = _bounds(layers)
    return max(least, min(keep, most))


def _check_reachable(
    layers: Mapping[str, Layer],
    keep: int,
    sparsity: float,
    total: int,
    rest: int,
) -> None:
    """Raise unless the bounds allow ``keep`` weights, up to a ``rest``."""
    least, most = _bounds(layers)
    if least <= keep <= most + rest:
        return
    over = keep - (least if keep < least else most)
    raise ValueError(
        f'sparsity={sparsity} cannot be reached: dense layers, floors, '
        'earlier masks and the sparsities given by glob allow '
        f'{1 - (round((1 - sparsity) * total) - over) / total:.10g} at '
        + ('most' if over < 0 else 'least')
        + ': ask for that, or change them'
    )


def _ranked_together(
    pooled, layers: Mapping[str, Layer], keep: int
) -> dict[str, Tensor]:
    """Masks of units; a layer that falls below its floor is set to it."""
    floored: dict[str, int] = {}
    while True:
        free = sorted(name for name in layers if name not in floored)
        budget = keep - sum(
            n * layers[name].size for name, n in floored.items()
        )
        units = _best(pooled, {n: layers[n].size for n in free}, budget)
        low = {
            name: layers[name].lower
            for name in free
            if int(units[name].sum()) < layers[name].lower
        }
        if not low:
            break
        floored |= low
    units |= {name: top(pooled(name), n) for name, n in floored.items()}
    return units


def _best(pooled, sizes: dict[str, int], keep: int) -> dict[str, Tensor]:
    """Masks of the best units of all layers, ``keep`` weights in all."""
    if len(set(sizes.values())) == 1:
        count = keep // next(iter(sizes.values()))
        threshold, spare = _threshold(map(pooled, sizes), count)
        masks = {}
        for name in sizes:
            masks[name], spare = _above(pooled(name), threshold, spare)
        return masks
    parts = {name: pooled(name) for name in sizes}
    flat = torch.cat(list(parts.values()) or [torch.empty(0)])
    weights = torch.cat(
        [torch.full((len(parts[n]),), size) for n, size in sizes.items()]
        or [torch.empty(0)]
    )
    order = flat.argsort(descending=True, stable=True)
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[order[weights[order].cumsum(0) <= keep]] = True
    chunks = mask.split([len(part) for part in parts.values()])
    return dict(zip(sizes, chunks))


def top(units: Tensor, count: int) -> Tensor:
    """The mask of the ``count`` highest of a row, equal ones by index."""
    threshold, spare = _threshold([units], count)
    return _above(units, threshold, spare)[0]


def _threshold(parts: Iterable[Tensor], count: int) -> tuple[float, int]:
    """The lowest score that is kept, and how many of that very score."""
    if not count:
        return math.inf, 0
    flat = np.concatenate([part.numpy() for part in parts])
    if count == flat.size:
        return -math.inf, 0
    place = flat.size - count
    # In place, for these may be all weights of a large network.
    flat.partition(place)
    threshold = flat[place]
    higher = int(np.count_nonzero(flat[place:] > threshold))
    return threshold.item(), count - higher


def _above(units: Tensor, threshold: float, spare: int) -> tuple[Tensor, int]:
    """Units above the threshold and the first ``spare`` ones at it."""
    mask = units > threshold
    if spare:
        ties = (units == threshold).nonzero().flatten()[:spare]
        mask[ties] = True
        spare -= len(ties)
    return mask, spare


def comparable(scores: Scores) -> dict[str, Tensor]:
    """On the CPU, in the one precision that loses nothing."""
    double = any(s.dtype == torch.float64 for s in scores.values())
    dtype = torch.float64 if double else torch.float32
    result = {n: s.detach().to('cpu', dtype) for n, s in scores.items()}
    for name, tensor in result.items():
        if not is_finite(tensor):
            raise ValueError(
                f'the scores of {name!r} are not all finite: '
                f'{int((~tensor.isfinite()).sum()):,} of {tensor.numel():,} '
                'are not; rank finite numbers, with 0 for what may go first'
            )
    return result


def _n_of_m(
    name: str, scores: Tensor, structure: NM, within: Masks | None
) -> Tensor:
    structure.unit_size(name, scores.shape)
    if within is None:
        return structure.select(scores)
    left = within[name]
    return structure.select(scores.masked_fill(~left, -math.inf)) & left


def _check_n_of_m(
    chosen: dict[str, Tensor],
    shapes: dict,
    sparsity: float,
    structure: NM,
) -> None:
    if structure.is_relaxed:
        return
    total = _total(shapes)
    removed = sum(int((~mask).sum()) for mask in chosen.values()) / total
    if abs(removed - sparsity) > 1e-4:
        raise ValueError(
            f'{structure.n}:{structure.m} removes a fraction of '
            f'{removed:.10g}: set sparsity={removed:.10g} instead of '
            f'{sparsity}'
        )
