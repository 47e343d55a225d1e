"""What is kept or removed together."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

Shape = Sequence[int]


class Structure:
    """What is kept or removed together."""


class LayerStructure(Structure, ABC):
    """Divides the weights of each layer into units of one size.

    Units are numbered along the weights. The score of a unit is the mean of
    its weights' scores, so that units of different layers compare.
    """

    @abstractmethod
    def unit_size(self, name: str, shape: Shape) -> int:
        """Weights a unit of a layer.

        Raises:
            ValueError: The layer cannot be divided; names it.
        """

    def relaxed(self, density: float) -> 'LayerStructure':
        """What holds in a round that leaves this density, not the last."""
        return self

    @abstractmethod
    def pool(self, scores: Tensor) -> Tensor:
        """Scores of the units, 1-D, from those of a layer's weights."""

    @abstractmethod
    def expand(self, units: Tensor, shape: Shape) -> Tensor:
        """The mask of a layer from the 1-D mask of its units."""


class Weights(LayerStructure):
    """Single weights: unstructured pruning."""

    def unit_size(self, name, shape):
        return 1

    def pool(self, scores):
        return scores.reshape(-1)

    def expand(self, units, shape):
        return units.reshape(shape)


class Rows(LayerStructure):
    """Whole rows of a weight: those of an output channel or feature.

    Biases and normalisation stay, so that the channel goes on to emit what
    they make of nothing.

    Transposed convolutions store input channels first: there whole input
    channels are kept or removed.
    """

    def unit_size(self, name, shape):
        return torch.Size(shape[1:]).numel()

    def pool(self, scores):
        return scores.flatten(1).mean(dim=1)

    def expand(self, units, shape):
        return units.view(-1, *[1] * (len(shape) - 1)).expand(shape)


class Blocks(LayerStructure):
    """Blocks of the matrix (output channels, everything else).

    Args:
        rows: Neighbouring output channels a block.
        columns: Neighbouring weights of a channel a block, in the order of
            the weight tensor: input channel, then kernel row and column.
    """

    def __init__(self, rows: int, columns: int) -> None:
        for option, value in (('rows', rows), ('columns', columns)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{option}={value!r} must be an integer >= 1')
        self.rows = rows
        self.columns = columns

    def unit_size(self, name, shape):
        rows, columns = shape[0], torch.Size(shape[1:]).numel()
        if rows % self.rows or columns % self.columns:
            raise ValueError(
                f'{name!r} is a matrix of {rows} x {columns} weights, which '
                f'blocks of {self.rows} x {self.columns} do not divide: '
                'choose other blocks or exclude the layer'
            )
        return self.rows * self.columns

    def pool(self, scores):
        matrix = scores.flatten(1)
        blocks = matrix.unflatten(0, (-1, self.rows))
        blocks = blocks.unflatten(2, (-1, self.columns))
        return blocks.mean(dim=(1, 3)).reshape(-1)

    def expand(self, units, shape):
        blocks = units.view(shape[0] // self.rows, 1, -1, 1)
        blocks = blocks.expand(-1, self.rows, -1, self.columns)
        return blocks.reshape(shape)


class NM(LayerStructure):
    """N of every M neighbouring weights along the input channels.

    For every output channel and kernel position, so that sparse matrix
    units of GPUs can use it (2:4). Each layer has density N/M, whichever
    way the weights are allocated. (Of a transposed convolution, which
    stores input channels first: along the output channels.)

    Args:
        n: Weights kept of each group.
        m: Weights a group.
    """

    def __init__(self, n: int, m: int) -> None:
        integers = isinstance(n, int) and isinstance(m, int)
        if not integers or not 0 < n < m:
            raise ValueError(
                f'n={n!r} and m={m!r} must be integers with 0 < n < m'
            )
        self.n = n
        self.m = m
        self._final = True

    def relaxed(self, density):
        """As many of each group as the density asks for, N at least."""
        other = copy(self)
        other.n = max(self.n, math.ceil(density * self.m - 1e-9))
        other._final = False
        return other

    def unit_size(self, name, shape):
        if shape[1] % self.m:
            raise ValueError(
                f'{name!r} has {shape[1]} input channels, which groups of '
                f'{self.m} do not divide: exclude the layer, or leave the '
                'first convolution dense (allocation=dict(type="global", '
                'dense_first=True))'
            )
        return self.m

    def pool(self, scores):
        raise TypeError(
            f'groups of {self.n}:{self.m} are not ranked against each other: '
            'take select(), which keeps n of each, or another structure'
        )

    expand = pool

    @property
    def is_relaxed(self) -> bool:
        """bool: Whether this is the form of a round before the last."""
        return not self._final

    def select(self, scores: Tensor) -> Tensor:
        """The mask of a layer: the best N of each group, ties by index."""
        groups = scores.movedim(1, -1)
        shape = groups.shape
        groups = groups.reshape(-1, self.m)
        order = groups.argsort(dim=1, descending=True, stable=True)
        mask = torch.zeros_like(groups, dtype=torch.bool)
        mask.scatter_(1, order[:, : self.n], True)
        return mask.view(shape).movedim(-1, 1)
