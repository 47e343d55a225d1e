"""Whether a file computes what the network computes."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from .run import Network, prepare

#: Boxes of the reference with a lower score need no partner.
LOWEST_SCORE = 0.05
#: So far a score may always be from the reference.
SCORE_LIMIT = 1e-4
#: Boxes that are further apart, in pixels, are two: of two that overlap,
#: rounding decides which one suppresses the other.
NEAR = 0.5
#: Below so many pixels, errors are those of single precision.
BOX_FLOOR = 0.01


@dataclass
class Error:
    """How far outputs are from those in double precision.

    Attributes:
        objects: Boxes of the reference, or images of a classifier.
        unmatched: Boxes of one side without a partner on the other.
        score: Largest difference of a score or probability.
        box: Largest difference of a corner, in pixels.
    """

    objects: int = 0
    unmatched: int = 0
    score: float = 0.0
    box: float = 0.0

    def add(self, other: 'Error') -> None:
        """Take in another image."""
        self.objects += other.objects
        self.unmatched += other.unmatched
        self.score = max(self.score, other.score)
        self.box = max(self.box, other.box)


@dataclass
class Comparison:
    """A file and torch in single precision, beside double precision.

    Attributes:
        images: That were compared.
        file: Error of the file.
        torch: Error of torch, in single precision.
    """

    images: int
    file: Error
    torch: Error

    def faults(self) -> list[str]:
        """In what the file is worse than single precision explains."""
        found = []
        allowed = max(2 * self.torch.score, SCORE_LIMIT)
        if self.file.score > allowed:
            found.append(
                f'a score differs by {self.file.score:.1e} (torch: '
                f'{self.torch.score:.1e}), and {allowed:.0e} is allowed'
            )
        allowed = max(2 * self.torch.box, BOX_FLOOR)
        if self.file.box > allowed:
            found.append(
                f'a corner differs by {self.file.box:.3g} pixels (torch: '
                f'{self.torch.box:.3g}), and {allowed:.3g} are allowed'
            )
        if self.file.unmatched > 2 * self.torch.unmatched:
            found.append(
                f'{self.file.unmatched} boxes have no partner (torch: '
                f'{self.torch.unmatched})'
            )
        return found

    def summary(self) -> str:
        """One line, in words."""
        file, own = self.file, self.torch
        if not file.box and not own.box and not file.unmatched:
            return (
                f'{self.images} images beside double precision: scores to '
                f'{file.score:.1e} (torch in single precision: '
                f'{own.score:.1e})'
            )
        return (
            f'{self.images} images, {file.objects} boxes beside double '
            f'precision: scores to {file.score:.1e}, corners to '
            f'{file.box:.1e} pixels, {file.unmatched} without a partner '
            f'(torch in single precision: {own.score:.1e}, {own.box:.1e}, '
            f'{own.unmatched})'
        )

    def figures(self) -> dict:
        """As they are written to a report."""
        return asdict(self)


def compare(
    module: nn.Module, network: Network, pictures: Sequence[Image.Image]
) -> Comparison:
    """Run a file, and what it was made from, on the same pictures.

    Args:
        module: That was exported, in single precision.
        network: The file.
        pictures: Real ones: random pixels show little.
    """
    double = copy.deepcopy(module).double()
    result = Comparison(len(pictures), Error(), Error())
    for picture in pictures:
        prepared = prepare(picture, network)
        batch = network.on_canvas([prepared.image])
        size = np.array([prepared.size], np.float32)
        reference = _call(double, batch, size, torch.float64)
        result.file.add(_error(reference, network(batch, size)))
        single = _call(module, batch, size, torch.float32)
        result.torch.add(_error(reference, single))
    return result


def _call(
    module: nn.Module, batch: np.ndarray, size: np.ndarray, dtype: torch.dtype
) -> dict[str, np.ndarray]:
    inputs = [torch.from_numpy(a).to(dtype) for a in (batch, size)]
    with torch.no_grad():
        if not hasattr(module, 'count'):
            return dict(probabilities=module(inputs[0]).numpy())
        found = module(*inputs)
    return {name: value.numpy() for name, value in found._asdict().items()}


def _error(
    reference: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> Error:
    if 'probabilities' in reference:
        off = np.abs(reference['probabilities'] - found['probabilities'])
        return Error(objects=len(off), score=float(off.max()))
    return _box_error(
        *(
            tuple(outputs[name][0] for name in ('boxes', 'scores', 'labels'))
            for outputs in (reference, found)
        )
    )


def _box_error(reference: tuple, found: tuple) -> Error:
    error = Error(objects=int((reference[1] > LOWEST_SCORE).sum()))
    for one, other in ((reference, found), (found, reference)):
        taken: set[int] = set()
        for box, score, label in zip(*one):
            if score <= LOWEST_SCORE:
                continue
            partner = _partner(box, label, other, taken)
            if partner is None:
                error.unmatched += 1
                continue
            taken.add(partner)
            error.score = max(
                error.score, abs(float(score - other[1][partner]))
            )
            error.box = max(
                error.box, float(np.abs(box - other[0][partner]).max())
            )
    return error


def _partner(
    box: np.ndarray, label: int, others: tuple, taken: set[int]
) -> int | None:
    """The nearest box of the same class that has no partner yet."""
    boxes, _, labels = others
    free = [i for i in np.flatnonzero(labels == label) if i not in taken]
    if not free:
        return None
    off = np.abs(boxes[free] - box).max(axis=1)
    nearest = int(off.argmin())
    return int(free[nearest]) if off[nearest] < NEAR else None
