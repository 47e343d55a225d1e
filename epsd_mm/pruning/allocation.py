"""How many weights each layer keeps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch

from .patterns import Shape

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Layer:
    """What an allocation knows of a layer. Units are those of a pattern.

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
        if not 0 <= min_density <= 1:
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

    def dense(self, shapes: Shapes) -> list[str]:
        """Names of the layers that stay dense, of weights in model order.

        Raises:
            ValueError: There is no layer of the kind.
        """
        names = []
        if self.dense_first:
            convolutions = [n for n, s in shapes.items() if len(s) > 2]
            names += _one_of(convolutions[:1], 'dense_first', 'convolution')
        if self.dense_last:
            linear = [n for n, s in shapes.items() if len(s) == 2]
            names += _one_of(linear[-1:], 'dense_last', 'linear layer')
        return names


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


class ByPattern(Allocation):
    """Sparsities by pattern of names; the other layers are ranked together.

    Args:
        sparsities: Sparsity of each layer that a shell-style pattern such
            as ``'backbone.layer1.*'`` matches; the first match counts.
        options: See :class:`Allocation`.
    """

    def __init__(self, sparsities: Mapping[str, float], **options) -> None:
        super().__init__(**options)
        if not isinstance(sparsities, Mapping) or not sparsities:
            raise ValueError(
                f'sparsities={sparsities!r} must be a dict from patterns of '
                'names to sparsities'
            )
        for sparsity in sparsities.values():
            check_sparsity(sparsity)
        self.sparsities = dict(sparsities)

    def counts(self, layers, keep):
        targets: dict[str, float] = {}
        for pattern, sparsity in self.sparsities.items():
            matching = [name for name in layers if fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(
                    f'allocation pattern {pattern!r} matches no prunable '
                    f'weight; names look like {", ".join(list(layers)[:3])}'
                )
            for name in matching:
                layer = layers[name]
                wanted = (1 - sparsity) * layer.numel / layer.size
                wanted = max(layer.lower, min(wanted, layer.upper))
                targets.setdefault(name, wanted)
        if len(targets) < len(layers):
            return {name: round(wanted) for name, wanted in targets.items()}
        # Nothing else is there to make up for what rounding changes.
        bounded = {
            name: replace(
                layers[name],
                lower=math.floor(wanted),
                upper=math.ceil(wanted),
            )
            for name, wanted in targets.items()
        }
        shares = {n: w / layers[n].numel for n, w in targets.items()}
        return _filled(bounded, shares, keep)


def check_sparsity(sparsity: float) -> None:
    """Raise unless ``sparsity`` is a number in [0, 1)."""
    number = isinstance(sparsity, (int, float))
    if not number or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise ValueError(
            f'sparsity={sparsity!r} must be a number in [0, 1): the fraction '
            'of weights to remove, 0.9 for 90 %'
        )


def _one_of(names: list[str], option: str, kind: str) -> list[str]:
    if not names:
        raise ValueError(
            f'{option}=True has no effect: no prunable weight is that of a '
            f'{kind}'
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
    low, high = 0.0, float((upper / slope).max()) + 1
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
    # One unit each, and more where bounds leave no other place.
    while True:
        before = spare
        for i in order:
            room = units[i] * size[i] < upper[i]
            if room and size[i] <= spare:
                units[i] += 1
                spare -= int(size[i])
        if spare == before:
            break
    return {name: int(count) for name, count in zip(names, units)}
