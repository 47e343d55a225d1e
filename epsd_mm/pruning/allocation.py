"""How many weights each layer keeps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch

from .names import likely
from .structures import Shape

Shapes = Mapping[str, Shape]
Reached = Callable[[float], float]


@dataclass(frozen=True)
class Layer:
    """What an allocation knows of a layer. Units are those of a structure.

    Attributes:
        shape: Shape of the weight.
        size: Weights a unit.
        lower: Units that the layer keeps at least.
        upper: Units that it has left to keep.
    """

    shape: Shape
    size: int
    lower: int
    upper: int

    @property
    def numel(self) -> int:
        """int: Number of weights."""
        return math.prod(self.shape)


class Allocation(ABC):
    """Divides the weights that are kept among the layers.

    Args:
        min_density: Fraction of its weights that every layer keeps.
        dense_first: Keep the first convolution as it is.
        dense_last: Keep the last linear layer, the classifier, as it is.

    Weights of dense layers count: the other layers lose all the more.
    """

    def __init__(
        self,
        min_density: float = 0.0,
        dense_first: bool = False,
        dense_last: bool = False,
    ) -> None:
        number = isinstance(min_density, (int, float))
        if not number or not 0 <= min_density <= 1:
            raise ValueError(f'min_density={min_density!r} must be in [0, 1]')
        self.min_density = min_density
        self.dense_first = dense_first
        self.dense_last = dense_last

    @abstractmethod
    def counts(self, layers: Mapping[str, Layer], keep: int) -> dict[str, int]:
        """Units that layers keep; layers left out are ranked together.

        Args:
            layers: All layers that are not dense.
            keep: Weights to keep of them.
        """

    def on_the_way(
        self,
        reached: Reached,
        sparsity: float,
        shapes: Shapes,
        units: Mapping[str, int],
    ) -> tuple['Allocation', float]:
        """Allocation and sparsity of a round before the last.

        Args:
            reached: The sparsity of the round for a final one.
            sparsity: The final one of all layers together.
            shapes: Shapes of all weights.
            units: Weights a unit, of all layers.
        """
        return self, reached(sparsity)

    def dense(self, shapes: Shapes) -> list[str]:
        """Names of the layers that stay dense, of weights in model order.

        Raises:
            ValueError: There is no layer of the kind.
        """
        names = []
        if self.dense_first:
            names += _one_of(_first(shapes), 'dense_first', 'convolution')
        if self.dense_last:
            names += _one_of(_last(shapes), 'dense_last', 'linear layer')
        return names

    def without(self, gone: Collection[str], shapes: Shapes) -> 'Allocation':
        """What is asked of the other layers where some stay whole.

        What is asked of nothing but them is met, or cannot be, and is no
        longer asked.

        Args:
            gone: The layers that stay whole.
            shapes: Shapes of all weights.
        """
        other = copy(self)
        if set(_first(shapes)) <= set(gone):
            other.dense_first = False
        if set(_last(shapes)) <= set(gone):
            other.dense_last = False
        return other


class Global(Allocation):
    """All layers are ranked together."""

    def counts(self, layers, keep):
        return {}


class Uniform(Allocation):
    """Every layer has the same density."""

    def counts(self, layers, keep):
        shares = {n: self.share(layer.shape) for n, layer in layers.items()}
        return _filled(layers, shares, keep)

    def share(self, shape: Shape) -> float:
        """Density of a layer, up to a factor common to all."""
        return 1.0


class ERK(Uniform):
    """Erdős–Rényi-Kernel: the smaller a layer, the denser.

    The density of a layer is proportional to the sum of the sides of its
    weight tensor over their product. Evci et al., *Rigging the Lottery:
    Making All Tickets Winners*, ICML 2020.
    """

    def share(self, shape):
        return sum(shape) / math.prod(shape)


class ByGlob(Allocation):
    """Sparsities by glob of names; the other layers are ranked together.

    Args:
        sparsities: Sparsity of each layer that a glob such as
            ``'backbone.layer1.*'`` matches; the first match counts.
        options: See :class:`Allocation`.
    """

    def __init__(self, sparsities: Mapping[str, float], **options) -> None:
        super().__init__(**options)
        if not isinstance(sparsities, Mapping) or not sparsities:
            raise ValueError(
                f'sparsities={sparsities!r} must be a dict from globs of '
                'names to sparsities'
            )
        for sparsity in sparsities.values():
            check_sparsity(sparsity)
        self.sparsities = dict(sparsities)

    def on_the_way(self, reached, sparsity, shapes, units):
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        total, dense = sum(sizes.values()), self.dense(shapes)
        matching = self.matching(n for n in sizes if n not in dense)
        rest = sizes.keys() - matching.keys() - set(dense)
        whole = sum(sizes[name] for name in dense)
        kept = (1 - sparsity) * total - whole
        kept -= sum(sizes[n] * (1 - s) for n, s in matching.items())
        now = sum(sizes[n] * (1 - reached(s)) for n, s in matching.items())
        if rest:
            others = sum(sizes[name] for name in rest)
            # Rounding in a matching layer is theirs to make up for, in the
            # last round too.
            slack = 2 * sum(units[name] for name in matching)
            final = max(0.0, 1 - kept / others)
            now += min(others, others * (1 - reached(final)) + slack)
        other = copy(self)
        other.sparsities = {p: reached(s) for p, s in self.sparsities.items()}
        return other, 1 - (whole + now) / total

    def without(self, gone, shapes):
        other = super().without(gone, shapes)
        left = {n: s for n, s in shapes.items() if n not in gone}
        names = left.keys() - other.dense(left)
        other.sparsities, found = {}, set()
        for glob, sparsity in self.sparsities.items():
            fresh = {n for n in names - found if fnmatchcase(n, glob)}
            if fresh:
                other.sparsities[glob] = sparsity
            found |= fresh
        return other

    def matching(self, names: Iterable[str]) -> dict[str, float]:
        """Sparsities of the layers that a glob matches.

        Raises:
            ValueError: A glob matches nothing, or nothing that an
                earlier one does not match.
        """
        names, found = list(names), {}
        for glob, sparsity in self.sparsities.items():
            fresh = [
                name
                for name in names
                if fnmatchcase(name, glob) and name not in found
            ]
            if not fresh:
                raise ValueError(
                    f'allocation glob {glob!r} matches no prunable '
                    'weight that an earlier glob does not match; '
                    + likely(glob, names)
                )
            found |= dict.fromkeys(fresh, sparsity)
        return found

    def counts(self, layers, keep):
        matching = self.matching(layers)
        targets: dict[str, float] = {}
        for name, sparsity in matching.items():
            layer = layers[name]
            wanted = (1 - sparsity) * layer.numel / layer.size
            targets[name] = max(layer.lower, min(wanted, layer.upper))
        if len(targets) < len(layers):
            return {name: round(wanted) for name, wanted in targets.items()}
        # Nothing else is there to make up for what rounding changes.
        bounded = {
            name: replace(
                layers[name],
                lower=math.floor(wanted + 1e-9),
                upper=math.ceil(wanted - 1e-9),
            )
            for name, wanted in targets.items()
        }
        shares = {n: w / layers[n].numel for n, w in targets.items()}
        return _filled(bounded, shares, keep)


def check_sparsity(sparsity: float, name: str = 'sparsity') -> None:
    """Raise unless ``sparsity`` is a number in [0, 1)."""
    number = isinstance(sparsity, (int, float))
    if not number or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise ValueError(
            f'{name}={sparsity!r} must be a number in [0, 1): the fraction '
            'of weights to remove, 0.9 for 90 %'
        )


def _first(shapes: Shapes) -> list[str]:
    """The first convolution, if there is one."""
    return [name for name, shape in shapes.items() if len(shape) > 2][:1]


def _last(shapes: Shapes) -> list[str]:
    """The last linear layer, if there is one."""
    return [name for name, shape in shapes.items() if len(shape) == 2][-1:]


def _one_of(names: list[str], option: str, kind: str) -> list[str]:
    if not names:
        raise ValueError(
            f'{option}=True has no effect: no prunable weight is that of a '
            f'{kind}; remove it'
        )
    return names


def _filled(
    layers: Mapping[str, Layer], shares: Mapping[str, float], keep: int
) -> dict[str, int]:
    """Units by layer: proportional to the shares within the bounds.

    Fractions are settled by largest remainder, then by name.
    """
    names = sorted(layers)
    table = [layers[name] for name in names]

    def column(values) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float64)

    size = column(layer.size for layer in table)
    lower = column(layer.lower for layer in table) * size
    upper = column(layer.upper for layer in table) * size
    slope = column(shares[n] * layers[n].numel for n in names)
    low, high = 0.0, float((upper / slope).nan_to_num(0.0).max()) + 1
    for _ in range(100):
        middle = (low + high) / 2
        filled = torch.clamp(slope * middle, lower, upper)
        low, high = (low, middle) if filled.sum() > keep else (middle, high)
    target = torch.clamp(slope * low, lower, upper) / size
    units = (target + 1e-6).floor()
    spare = keep - int((units * size).sum())
    order = sorted(
        range(len(names)), key=lambda i: (float(units[i] - target[i]), i)
    )
    # One unit each, and more only where bounds leave no other place: the
    # rest that is smaller than a large unit is not for small ones to take.
    while True:
        before = spare
        for i in order:
            if units[i] * size[i] < upper[i] and size[i] <= spare:
                units[i] += 1
                spare -= int(size[i])
        room = size[units * size < upper]
        if spare == before or not len(room) or spare < room.max():
            break
    return {name: int(count) for name, count in zip(names, units)}
