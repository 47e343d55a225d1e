"""Scores to draw, and what is selected of them, written out plainly."""

import math
from fractions import Fraction

import torch
from hypothesis import strategies as st

from epsd_mm import pruning

#: Sides of the blocks that divide every layer of :func:`any_layers`.
BLOCKS = (2, 4)


@st.composite
def any_layers(draw):
    """Scores of a convolution, a linear layer and up to three more.

    They are whole numbers, often few distinct ones, so that there are ties
    and their sums are exact.
    """
    rows, columns = st.sampled_from([2, 4, 6]), st.sampled_from([4, 8])
    side = st.integers(1, 3)
    linear = st.tuples(rows, columns)
    convolution = st.tuples(rows, columns, side, side)
    shapes = [draw(convolution), draw(linear)]
    shapes += draw(st.lists(linear | convolution, max_size=3))
    names = draw(st.permutations('abcde'[: len(shapes)]))
    levels = draw(st.sampled_from([0, 1, 1000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    return {
        name: torch.randint(
            -levels, levels + 1, shape, generator=generator
        ).float()
        for name, shape in zip(names, shapes)
    }


def number_of_weights(tensors):
    """All of them."""
    return sum(tensor.numel() for tensor in tensors.values())


def units_of(structure, shape):
    """Indices into the flat weights of each unit, unit after unit."""
    rows, columns = shape[0], math.prod(shape[1:])
    high, wide = dict(weights=(1, 1), rows=(1, columns), blocks=BLOCKS)[
        structure
    ]
    return [
        [
            (row + i) * columns + column + j
            for i in range(high)
            for j in range(wide)
        ]
        for row in range(0, rows, high)
        for column in range(0, columns, wide)
    ]


def ranking(scores, structure):
    """Units from the best to the worst: by mean score, name and index."""
    units = []
    for name, tensor in scores.items():
        flat = tensor.flatten().tolist()
        for index, unit in enumerate(units_of(structure, tensor.shape)):
            mean = Fraction(int(sum(flat[i] for i in unit)), len(unit))
            units.append((-mean, name, index, unit))
    return [(name, unit) for _, name, _, unit in sorted(units)]


def indices(mask):
    """Flat indices of the kept weights."""
    return {i for i, kept in enumerate(mask.flatten().tolist()) if kept}


def groups(mask, size):
    """Neighbours along the input channels, for each of the other places."""
    table = mask.tolist()
    if mask.dim() == 2:
        table = [[[[kept]] for kept in row] for row in table]
    for row in table:
        for start in range(0, len(row), size):
            for y in range(len(row[0])):
                for x in range(len(row[0][0])):
                    yield [row[start + i][y][x] for i in range(size)]


def erdos_renyi_kernel(shapes, keep):
    """Densities after Evci et al.: dense layers are found one by one."""
    raw = {name: sum(s) / math.prod(s) for name, s in shapes.items()}
    dense = set()
    while True:
        rest = keep - sum(math.prod(shapes[name]) for name in dense)
        divisor = sum(
            raw[name] * math.prod(shape)
            for name, shape in shapes.items()
            if name not in dense
        )
        epsilon = rest / divisor
        highest = max(raw[name] for name in raw if name not in dense)
        if highest * epsilon <= 1:
            break
        dense |= {name for name in raw if raw[name] == highest}
    return {
        name: 1.0 if name in dense else epsilon * raw[name] for name in shapes
    }


def find_masks(objective, criterion, params, prunable, batches, **options):
    """The masks of a target whose parts stand among the other options."""
    asked = {
        name: options.pop(name)
        for name in ('sparsity', 'allocation', 'structure')
        if name in options
    }
    target = pruning.Target.over(prunable, **asked)
    return pruning.find_masks(
        objective, criterion, params, prunable, batches, target, **options
    )
